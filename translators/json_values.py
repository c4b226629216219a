"""JSON as others wrote it: members that may be of any type, texts that may be no JSON at all."""

import json
import re
from typing import Any

import orjson

from translators.errors import LLMError

Json = dict[str, Any]

_TRIMMED_BYTES = 16 * 1024  # of JSON; from there on a copy costs more than the room behind it
_LONG = re.compile(rb"[0-9]\d{18}")  # 18 digits fit into 64 bits; a repeat in front would be searched for slowly


def object_of(raw: Json, name: str) -> Json:
    """A member that should be an object, or nothing."""
    value = raw.get(name)
    return value if isinstance(value, dict) else {}


def objects_of(raw: Json, name: str) -> list[Json]:
    """A member that should be a list of objects; what is none is left out."""
    value = raw.get(name)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def parsed(text: str) -> Any:
    """What `text` holds as JSON, with all digits, else the text itself: a model may have been cut short."""
    try:
        return exactly(text)
    except orjson.JSONDecodeError:
        return text


def exactly(text: str) -> Any:
    """What `text` holds as JSON, with all digits. Raises orjson.JSONDecodeError."""
    return all_digits(orjson.loads(text), text.encode())


def all_digits(value: Any, text: bytes) -> Any:
    """`value`, which orjson read from `text`, with integers past 64 bits as they stand there: it reads those as floats.

    They are orjson.Fragment then, fit for nothing but to be written.
    """
    if not _LONG.search(text):
        return value
    try:
        return json.loads(whole_characters(text), parse_int=_digits)
    except RecursionError:  # where it is written it is refused
        return value


def _digits(text: str) -> Any:
    return int(text) if len(text) < 19 else orjson.Fragment(text)


def answer_of(body: bytes) -> Any:
    """A provider's whole answer. Raises LLMError("bad_upstream") where it is not valid JSON."""
    try:
        return piece_of(body)
    except orjson.JSONDecodeError:
        raise LLMError("bad_upstream", "The provider's answer is not valid JSON") from None


def event_of(data: bytes) -> Json:
    """One event of a provider's stream; what is no object is empty. Raises LLMError("bad_upstream") for no JSON."""
    try:
        event = piece_of(data)
    except orjson.JSONDecodeError:
        raise LLMError("bad_upstream", "The provider's stream holds an event that is not valid JSON") from None
    return event if isinstance(event, dict) else {}


def piece_of(data: bytes) -> Any:
    """What a provider said, where a text may be cut within a character: half of one is read as U+FFFD.

    A host in JavaScript cuts an emoji in two, `\\ud83d` and `\\ude00`, each of which counts 3 bytes as U+FFFD does.
    Raises orjson.JSONDecodeError where it is not valid JSON.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return orjson.loads(whole_characters(data))


def whole_characters(data: bytes) -> bytes:
    """JSON with U+FFFD in the place of every half of a character."""
    return _HALVES.sub(lambda found: found[1] or rb"\ufffd", data)


_HALVES = re.compile(  # what is no half, an escape of two bytes or a pair, is stepped over
    rb"(\\[^u]|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)


def told(value: Any) -> bytes:
    """What a provider said, as JSON bytes for the client. Raises LLMError("bad_upstream") where it is nested too deep.

    orjson reads 1024 levels and writes 254.
    """
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        raise LLMError("bad_upstream", "The provider's answer is nested deeper than 254 levels") from None


def encoded(body: Json) -> bytes:
    """A request's body as JSON bytes. Raises LLMError("invalid_request") when it is nested too deep to be written."""
    try:
        return trimmed(orjson.dumps(body))
    except orjson.JSONEncodeError:
        raise LLMError("invalid_request", "The request is nested deeper than 254 levels") from None


def trimmed(written: bytes) -> bytes:
    """What orjson wrote, for whoever keeps it for a while: without the rest of its buffer, 8 kB and more behind 1 kB.

    It sets the size before it asks for less room, and is given none back (orjson 3.13; home-assistant/core, pull
    request 181245). Of a long text the rest is pages that nobody touched.
    """
    return b"".join((written, b"")) if len(written) < _TRIMMED_BYTES else written
