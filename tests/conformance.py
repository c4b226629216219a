"""Replays recorded exchanges through the translators and judges what comes out: `python -m tests.conformance FOLDER`.

Each answer must say what was recorded, however its bytes were cut, and end in an error wherever it was cut off; it must
be valid by `openai`'s types and rebuild to the same message through the SDK's accumulator. Prints dialect × feature,
passed of run, then every failure; the exit code is 1 if one of them is not in EXCUSED.
"""

import json
import re
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import ValidationError

from tests.losses import losses
from tests.recorded import Api, Call, Choice, Json, Said, api, openai
from tests.replay import body_of
from translators.errors import LLMError
from translators.exchange import Context, Translator
from translators.registry import TRANSLATORS
from translators.usage import Usage

_NO_FINISH = "the source kept no finishReason; a whole answer that says nothing of its end is taken to be complete"
EXCUSED: dict[str, str] = {"9b892764fc00": _NO_FINISH, "1ee8cd74ad43": _NO_FINISH}
MOST_CUTS = 400  # cut-off points tried per stream; longer streams are sampled evenly


class Failure(NamedTuple):
    id: str
    dialect: str
    reason: str


class Run(NamedTuple):
    """What a decoder made of a stream."""

    frames: list[bytes]
    usage: Usage
    error: LLMError | None

    @property
    def body(self) -> bytes:
        return b"".join(self.frames)


# ── one exchange ─────────────────────────────────────────────────────────────────────────────────────────────────────


def faults(row: Json, kind: Api, translator: Translator) -> Iterator[str]:
    """All that is wrong with what `translator` makes of the row, each in a few words."""
    try:
        body = body_of(row)
        if row["response"]["status"] >= 400:
            yield from _error_faults(row, body, translator)
        elif row["stream"]:
            truncated = "stream_truncated" in (row.get("features") or ())
            yield from _stream_faults(kind, body, translator, truncated=truncated)
        else:
            yield from _whole_faults(kind, body, translator)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        yield f"raised {type(error).__name__}: {error}"


def _error_faults(row: Json, body: bytes, translator: Translator) -> Iterator[str]:
    status = row["response"]["status"]
    error = translator.error(status, row["response"].get("headers") or {}, body)
    our_key = status in (401, 403, 407) or b"API_KEY_INVALID" in body  # Google says it with a 400
    expected = 502 if our_key else {504: 504, 529: 503}.get(status, 502 if status >= 500 else status)
    if error.status != expected:
        yield f"status {status} became {error.status}, not {expected}"
    told = _message(body)
    if not our_key and told not in error.message:
        yield f"the provider's message {told!r} became {error.message!r}"
    if not error.message or set(error.body()["error"]) != {"message", "type", "param", "code"}:
        yield "not an OpenAI-shaped error"


def _message(body: bytes) -> str:
    try:
        told = json.loads(body)
    except ValueError:
        return ""
    told = told[0] if isinstance(told, list) else told
    inner = told.get("error", told)
    message = inner if isinstance(inner, str) else inner.get("message") or inner.get("detail") or ""
    return message if isinstance(message, str) else ""


def _whole_faults(kind: Api, body: bytes, translator: Translator) -> Iterator[str]:
    said = kind.read(body)
    try:
        answer = translator.response(body, Context(), 1, "request-1")
    except LLMError as error:
        if not (said.failed or said.blocked):
            yield f"raised {error.kind}: {error.message}"
        return
    if said.failed:
        yield "the error inside the 200 was lost"
        return
    yield from differences(said, openai(answer.body), answer.usage)
    if kind.read is not openai:
        yield from losses(body, [json.loads(answer.body)], binary=False)
    if kind.read is not openai or _valid(ChatCompletion, [json.loads(body)]) is None:
        fault = _valid(ChatCompletion, [json.loads(answer.body)])
        if fault:
            yield f"invalid by openai's types: {fault}"


def _stream_faults(kind: Api, body: bytes, translator: Translator, *, truncated: bool) -> Iterator[str]:
    said = kind.read(body)
    run = decoded(translator, body, len(body) or 1)
    lf, crlf = body.replace(b"\r\n", b"\n"), body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    cuts = [("byte by byte", body, 1), ("every 7th", body, 7)]
    if not _is_binary(body):
        cuts += [("LF", lf, 1), ("CRLF", crlf, 5), ("event by event", lf, EVENTS), ("event by event", crlf, EVENTS)]
    for name, data, size in cuts:
        other = decoded(translator, data, size)
        if (other.body, other.usage) != (run.body, run.usage) or str(other.error) != str(run.error):
            yield f"not the same when cut {name}: {other.error}"
    if run.error is not None:
        if not (said.failed or said.blocked or truncated):
            yield f"raised {run.error.kind}: {run.error.message}"
        return
    if said.failed:
        yield "the error inside the stream was lost"
        return
    yield from differences(said, openai(run.body), run.usage)
    yield from _manners(run, kind, body, said)
    quiet = decoded(translator, body, len(body) or 1, include_usage=False)
    if any(chunk.get("usage") and not chunk["choices"] for chunk in map(_chunk, quiet.frames)):
        yield "a usage chunk that was not asked for"
    yield from _invented_endings(kind, body if _is_binary(body) else lf, translator)


EVENTS = 0  # a size: as many bytes as an event has, as providers mostly write them
_EVENT = re.compile(rb".+?(?:\r?\n\r?\n|\Z)", re.DOTALL)


def _is_binary(body: bytes) -> bool:
    """AWS's event stream: its first byte is the highest of a length."""
    return body[:1] == b"\0"


def decoded(translator: Translator, body: bytes, size: int, *, include_usage: bool = True) -> Run:
    """The whole of `body`, `size` bytes at a time, or an event at a time."""
    decoder = translator.Decoder(Context(include_usage=include_usage), 1, "request-1")
    frames: list[bytes] = []
    try:
        for piece in (
            _EVENT.findall(body) if size == EVENTS else [body[i : i + size] for i in range(0, len(body), size)]
        ):
            frames += decoder.feed(piece)
        frames += decoder.close()
    except LLMError as error:
        return Run(frames, decoder.usage, error)
    return Run(frames, decoder.usage, None)


def differences(said: Said, got: Said, usage: Usage) -> Iterator[str]:
    """Where the client's answer does not say what was recorded."""
    if not said.choices and got.choices and said.blocked:
        said = replace(said, choices={0: Choice(finish="content_filter")})
    if set(said.choices) != set(got.choices):
        yield f"choices {sorted(got.choices)}, not {sorted(said.choices)}"
        return
    for index, choice in said.choices.items():
        yield from _choice_differences(choice, got.choices[index])
    for name in ("prompt_tokens", "completion_tokens"):
        if getattr(usage, name) != getattr(said, name):
            yield f"{name} {getattr(usage, name)}, not {getattr(said, name)}"
    if usage.cache_read_tokens + usage.cache_read_audio_tokens != said.cached_tokens:
        yield f"cached tokens {usage.cache_read_tokens}, not {said.cached_tokens}"
    if said.reasoning_tokens and usage.reasoning_tokens != said.reasoning_tokens:
        yield f"reasoning tokens {usage.reasoning_tokens}, not {said.reasoning_tokens}"


def _choice_differences(said: Choice, got: Choice) -> Iterator[str]:
    if got.text != said.text:
        yield f"text {_short(got.text)}, not {_short(said.text)}"
    if "".join(got.reasoning.split()) != "".join(said.reasoning.split()):
        yield f"reasoning {_short(got.reasoning)}, not {_short(said.reasoning)}"
    if got.refusal != said.refusal:
        yield f"refusal {_short(got.refusal)}, not {_short(said.refusal)}"
    if not _same_calls(said.calls, got.calls):
        yield f"tool calls {_short(got.calls)}, not {_short(said.calls)}"
    allowed = {said.finish, "tool_calls"} if said.calls and said.finish == "length" else {said.finish}
    if said.finish in _NO_WORD:
        allowed = {"stop", "tool_calls", "content_filter", "length"}
    if got.finish not in allowed:
        yield f"finish {got.finish}, not {said.finish}"


# Gemini's reasons for which OpenAI has no word of its own: any finish will do, none will not
_NO_WORD = {"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "OTHER", "FINISH_REASON_UNSPECIFIED", "NO_IMAGE"}


def _same_calls(said: list[Call], got: list[Call]) -> bool:
    ids = [call.id for call in got]
    return (
        [(call.name, call.arguments) for call in said] == [(call.name, call.arguments) for call in got]
        and all(mine == theirs.id for mine, theirs in zip(ids, said, strict=True) if theirs.id)
        and (all(ids) or not all(call.id for call in said))
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 160 else f"{text[:100]}…{text[-50:]}"


# ── a stream's manners ───────────────────────────────────────────────────────────────────────────────────────────────


def _chunk(frame: bytes) -> Json:
    assert frame.startswith(b"data:") and frame.endswith(b"\n\n") and frame.count(b"\n") == 2, frame
    chunk: Json = json.loads(frame[5:])
    return chunk


def _manners(run: Run, kind: Api, body: bytes, said: Said) -> Iterator[str]:
    """What the SDK's types, its accumulator and OpenAI's habits ask of a stream. A relayed host answers for its own."""
    chunks = [_chunk(frame) for frame in run.frames]
    relayed = kind.read is openai
    theirs = [_chunk(b"data: " + line[5:].strip() + b"\n\n") for line in _data_lines(body)] if relayed else None
    if theirs is not None and chunks != theirs:
        yield "the host's chunks were changed"
    if theirs is None or _valid(ChatCompletionChunk, theirs) is None:
        fault = _valid(ChatCompletionChunk, chunks)
        if fault:
            yield f"invalid by openai's types: {fault}"
    rebuilt = accumulated(chunks)
    if isinstance(rebuilt, str):
        if theirs is None or not isinstance(accumulated(theirs), str):
            yield f"the accumulator failed: {rebuilt}"
    elif theirs is None:
        yield from (f"rebuilt: {fault}" for fault in _rebuilt_faults(said, rebuilt))
    if not relayed:
        yield from _openai_manners(chunks)
        yield from losses(body, chunks, binary=_is_binary(body))


def _data_lines(body: bytes) -> list[bytes]:
    lines = (line.strip() for line in body.split(b"\n") if line.startswith(b"data:"))
    return [line for line in lines if line[5:].strip() != b"[DONE]"]


def _openai_manners(chunks: list[Json]) -> Iterator[str]:
    if len({(chunk["id"], chunk["created"]) for chunk in chunks}) > 1:
        yield "id and created change within the stream"
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    roles, finishes = Counter[int](), Counter[int]()
    begun: set[tuple[int, int]] = set()
    for choice in choices:
        roles[choice["index"]] += "role" in choice["delta"]
        finishes[choice["index"]] += choice["finish_reason"] is not None
        for call in choice["delta"].get("tool_calls") or ():
            key = (choice["index"], call["index"])
            if (key in begun) == ("id" in call):
                yield f"tool call {key} does not say its id exactly once"
            begun.add(key)
    if set(roles.values()) != {1} or set(finishes.values()) != {1}:
        yield f"roles {dict(roles)}, finishes {dict(finishes)}"
    for index in {key[0] for key in begun}:
        if sorted(key[1] for key in begun if key[0] == index) != list(range(sum(key[0] == index for key in begun))):
            yield "tool calls are not numbered from 0"
    if not chunks[-1].get("usage") or chunks[-1]["choices"]:
        yield "the usage chunk is not the last"


def _valid(model: type[ChatCompletion] | type[ChatCompletionChunk], values: list[Json]) -> str | None:
    try:
        for value in values:
            model.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return None


def accumulated(chunks: list[Json]) -> Said | str:
    """What the SDK's own accumulator rebuilds, or what it raised."""
    state = ChatCompletionStreamState()
    try:
        with warnings.catch_warnings(action="ignore"):  # it warns of a host's own oddities, such as content in parts
            for chunk in chunks:
                state.handle_chunk(ChatCompletionChunk.construct(**chunk))
            rebuilt = state.current_completion_snapshot.to_dict(mode="json")
    except (AssertionError, TypeError, KeyError, IndexError, ValueError, AttributeError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    return openai(json.dumps(rebuilt).encode())


def _rebuilt_faults(said: Said, rebuilt: Said) -> Iterator[str]:
    for index, choice in rebuilt.choices.items():
        if index in said.choices:
            yield from _choice_differences(said.choices[index], choice)


def _invented_endings(kind: Api, body: bytes, translator: Translator) -> Iterator[str]:
    """Cut off behind each event: an error, or nothing that the provider itself had not said by then."""
    ends = _ends(body)[:-1]
    for end in ends[:: max(1, len(ends) // MOST_CUTS)]:
        run = decoded(translator, body[:end], end)
        if run.error is not None:
            continue
        said, got = kind.read(body[:end]), openai(run.body)
        finishes = {index: choice.finish for index, choice in said.choices.items()}
        if not finishes or None in finishes.values() or set(got.choices) != set(finishes):
            yield f"cut off at byte {end} of {len(body)}, it ends as if it were complete"
            return


def _ends(body: bytes) -> list[int]:
    """Where each event of a stream ends."""
    if not _is_binary(body):
        return [at + 2 for at in range(len(body)) if body.startswith(b"\n\n", at)]
    ends, at = list[int](), 0
    while at < len(body):
        at += int.from_bytes(body[at : at + 4])
        ends.append(at)
    return ends


# ── all of them ──────────────────────────────────────────────────────────────────────────────────────────────────────


def rows(folder: Path) -> Iterator[tuple[Json, Api]]:
    """Every row of every file of an API that some dialect here speaks; what is passed over is said on stderr."""
    for path in sorted(folder.glob("*.jsonl")):
        kind = api(path.name.removesuffix(".jsonl"), set(TRANSLATORS))
        if kind is None:
            print(f"{path.name}: no dialect here speaks this API", file=sys.stderr)
        else:
            with path.open(encoding="utf-8") as lines:
                for line in lines:
                    yield json.loads(line), kind


def judged(exchanges: Iterable[tuple[Json, Api]]) -> tuple[list[Failure], dict[tuple[str, str], list[int]]]:
    """The failures, and per dialect and feature how many passed and how many were run."""
    failures: list[Failure] = []
    table: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for row, kind in exchanges:
        wrong = list(faults(row, kind, TRANSLATORS[kind.dialect]))
        if wrong:
            failures.append(Failure(row["id"], kind.dialect, f"({row['api']}) {'; '.join(wrong)}"))
        for feature in ("(all)", *(row.get("features") or ())):
            table[kind.dialect, feature][0] += not wrong
            table[kind.dialect, feature][1] += 1
    return failures, table


def _print_table(table: dict[tuple[str, str], list[int]]) -> None:
    dialects = sorted({dialect for dialect, _ in table})
    print(f"{'feature':34}" + "".join(f"{dialect:>14}" for dialect in dialects))
    for feature in sorted({feature for _, feature in table}):
        cells = (table.get((dialect, feature)) for dialect in dialects)
        print(f"{feature:34}" + "".join(f"{f'{cell[0]}/{cell[1]}' if cell else '':>14}" for cell in cells))


def main(arguments: list[str]) -> int:
    """The exit code."""
    folder = Path(arguments[0])
    failures, table = judged(rows(folder))
    if not table:
        print(f"no recordings in {folder}", file=sys.stderr)
        return 1
    _print_table(table)
    unexcused = 0
    for failure in failures:
        excuse = EXCUSED.get(failure.id)
        unexcused += excuse is None
        print(f"{'excused' if excuse else 'FAILED '} {failure.dialect} {failure.id} {failure.reason}")
        if excuse:
            print(f"        because {excuse}")
    print(f"{len(failures)} failed, {unexcused} of them unexcused")
    return 1 if unexcused else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
