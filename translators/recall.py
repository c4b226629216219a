"""Signed reasoning, remembered for a client that does not send it back: under which names it is kept.

A provider that signs its reasoning demands it again on the next turn, and a plain OpenAI client drops it. What a
decoder saw is kept under the ids of the tool calls that followed it, or under a hash of the text that did; the next
request asks for the names that its own messages mention. A name counts only behind the message that it answered: some
hosts give the same ids again and again, and the same short text stands in many conversations.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson


def text_key(text: str) -> str:
    """The name for reasoning that stands before `text` and no tool call."""
    return "text:" + hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def anchor(messages: Sequence[Mapping[str, Any]]) -> str:
    """What an answer to `messages` is bound to: a digest of the last of them. The same words elsewhere are others."""
    last = messages[-1] if messages else {}
    try:
        said = orjson.dumps([last.get("role"), last.get("tool_call_id"), last.get("content")])
    except orjson.JSONEncodeError:  # nested deeper than is written, in what a dialect may have left out
        said = text_of(last.get("content")).encode()
    return hashlib.blake2b(said, digest_size=16).hexdigest()


def wanted(chat: Mapping[str, Any]) -> dict[str, str]:
    """The names to look up for `chat`, each with its anchor: assistant messages without their `reasoning_details`."""
    names: dict[str, str] = {}
    messages = chat["messages"]
    for at, message in enumerate(messages):
        if message.get("role") != "assistant" or message.get("reasoning_details"):
            continue
        calls = message.get("tool_calls") or ()
        found = [call["id"] for call in calls]
        if not calls and (text := text_of(message.get("content"))):
            found = [text_key(text)]
        if found:
            names |= dict.fromkeys(found, anchor(messages[:at]))
    return names


def text_of(content: Any) -> str:
    """The text of a message's content, whether it is a string or a list of parts."""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if part.get("type") == "text")
    return content or ""
