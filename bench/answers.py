"""What the mock upstream answers with, and the requests that are sent.

The answers have the shape, headers and white space of recorded ones (shared recordings, read 2026-11: openai.chat,
anthropic.messages, gemini.generateContent and streamGenerateContent); their text is ours.
"""

import json
from pathlib import Path
from typing import Any, Literal

Dialect = Literal["openai", "anthropic", "gemini"]
DIALECTS: tuple[Dialect, ...] = ("openai", "anthropic", "gemini")
MODELS: dict[Dialect, str] = {
    "openai": "gpt-4.1-mini",
    "anthropic": "claude-haiku-4-5",
    "gemini": "gemini-2.5-flash",
}
EVENTS = 64  # of a stream, its head and its end included

_TEMPLATES = Path(__file__).parent / "answers"
TEXT = (_TEMPLATES / "text.txt").read_text().strip()
FIRST, LAST = TEXT.split()[0], TEXT.split()[-1]  # how the load generator knows the first content, and a whole answer

_SYSTEM = (
    "You are the assistant of an irrigation cooperative. Answer in plain sentences, without lists, and name the gate, "
    "the canal and the farm that you speak of. If a figure is asked for that you were not given, say so. Water is "
    "measured in cubic metres, flow in litres a second, and every share is counted from the first of the month. "
    "Do not promise water that has not been metered, and do not speak of a farm to anyone but its own farmer. "
    "When the season changes, the shares of the farms change with it: the table of the day stands, whatever was said "
    "before. Farmers write in a hurry; ask back only if an answer would otherwise be wrong by more than a tenth."
)
_ASKED = "How does a headgate share the water of one canal among many farms, and what happens when a share is used up?"


def whole(dialect: Dialect) -> bytes:
    """An answer that is not streamed, about 1 kB."""
    return (_TEMPLATES / f"{dialect}.json").read_text().replace("$text", TEXT).encode()


def stream(dialect: Dialect, events: int = EVENTS) -> bytes:
    """A stream of so many events. The template's one event with `$word` is repeated, a word of the text in each."""
    lines = "\r\n" if dialect == "gemini" else "\n"  # as each of them ends its lines
    template = (_TEMPLATES / f"{dialect}.sse").read_text().strip().split("\n\n")
    words = TEXT.split()
    told: list[str] = []
    for event in template:
        times = events - len(template) + 1 if "$word" in event else 1
        told += [event.replace("$word", f"{words[i % len(words)]} ") for i in range(times)]
    return "".join(f"{event}\n\n".replace("\n", lines) for event in told).encode()


def write(folder: Path, events: int = EVENTS) -> None:
    """The files that the mock upstream reads."""
    for dialect in DIALECTS:
        (folder / f"{dialect}.json").write_bytes(whole(dialect))
        (folder / f"{dialect}.sse").write_bytes(stream(dialect, events))


def end_mark(dialect: Dialect, streamed: bool) -> str:
    """What stands at the end of a provider's own answer, and nowhere else in it."""
    if not streamed:
        return LAST
    return {"openai": "[DONE]", "anthropic": '"message_stop"', "gemini": '"STOP"'}[dialect]


def chat(model: str, streamed: bool) -> bytes:
    """A request in OpenAI's shape, 1 kB."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": _ASKED}],
        "temperature": 0.7,
        "max_completion_tokens": 400,
    }
    if streamed:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(body).encode()


def native(dialect: Dialect, streamed: bool) -> tuple[str, bytes]:
    """Path and body of the same request in a provider's own shape, for nginx to pass on."""
    model = MODELS[dialect]
    if dialect == "openai":
        return "/v1/chat/completions", chat(model, streamed)
    if dialect == "anthropic":
        body: dict[str, Any] = {
            "model": model,
            "max_tokens": 400,
            "system": _SYSTEM,
            "messages": [{"role": "user", "content": _ASKED}],
            "temperature": 0.7,
        }
        return "/v1/messages", json.dumps(body | ({"stream": True} if streamed else {})).encode()
    verb = "streamGenerateContent?alt=sse" if streamed else "generateContent"
    body = {
        "contents": [{"role": "user", "parts": [{"text": _ASKED}]}],
        "systemInstruction": {"parts": [{"text": _SYSTEM}]},
        "generationConfig": {"temperature": 0.7, "maxOutputTokens": 400},
    }
    return f"/v1beta/models/{model}:{verb}", json.dumps(body).encode()


def http(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """A whole HTTP/1.1 request with the headers that a client of ours would send."""
    sent = {"host": "127.0.0.1", "accept": "application/json", "content-type": "application/json"} | headers
    head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    return f"POST {path} HTTP/1.1\r\n{head}content-length: {len(body)}\r\n\r\n".encode() + body
