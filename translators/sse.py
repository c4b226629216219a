"""Server-sent events, decoded from bytes: a line iterator over text would cut JSON at U+2028.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream (read 2026-11-20)
"""

from typing import NamedTuple

from translators.errors import LLMError

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"
MAX_EVENT_BYTES = 64 * 1024 * 1024  # one event; an image comes whole in one


class Event(NamedTuple):
    """One dispatched event: its type ("" when the stream names none) and its data, lines joined by LF."""

    type: bytes
    data: bytes


class Decoder:
    """Bytes in, events out, however the bytes are cut; LF, CRLF and CR all end a line.

    An event with no data line is not dispatched, and neither is one that the stream ends in the middle of.
    Raises LLMError("bad_upstream") when one event grows past MAX_EVENT_BYTES.
    """

    def __init__(self) -> None:
        self._rest = bytearray()  # what came after the last complete line
        self._scanned = 0  # how much of it is known to hold no line end
        self._type = b""
        self._data: list[bytes] = []
        self._size = 0
        self._first = True
        self._skip_lf = False  # a CR ended the last line: an LF that follows belongs to it

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes."""
        events: list[Event] = []
        if not (self._rest or self._data or self._type or self._first or self._skip_lf) and _usual(data, events):
            return events
        rest = self._rest
        rest += data
        if self._skip_lf and rest:
            if rest[0] == 0x0A:
                del rest[0]
            self._skip_lf = False
        start = 0
        while True:
            end = self._line_end(start)
            if end < 0:
                break
            self._line(bytes(rest[start:end]), events)
            if rest[end] == 0x0D:
                if end + 1 == len(rest):
                    self._skip_lf = True
                elif rest[end + 1] == 0x0A:
                    end += 1
            start = end + 1
            self._scanned = start
        del rest[:start]
        self._scanned = len(rest)
        if len(rest) + self._size > MAX_EVENT_BYTES:
            raise LLMError("bad_upstream", "The provider sent one event larger than 64 MiB")
        return events

    def _line_end(self, start: int) -> int:
        rest, at = self._rest, max(start, self._scanned)
        lf = rest.find(b"\n", at)
        cr = rest.find(b"\r", at, lf if lf >= 0 else len(rest))
        return cr if cr >= 0 else lf

    def _line(self, line: bytes, events: list[Event]) -> None:
        if self._first:
            self._first = False
            line = line.removeprefix(b"\xef\xbb\xbf")  # one byte-order mark is allowed at the very start
        if not line:
            if self._data:
                events.append(Event(self._type, b"\n".join(self._data)))
            self._type, self._data, self._size = b"", [], 0
            return
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._size += len(value)
        elif name == b"event":
            self._type = value


def _usual(data: bytes, events: list[Event]) -> bool:
    """Whether `data` is whole events of at most one `event:` and one `data:` line each, as nearly all are."""
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
    if not data.endswith(b"\n\n") or b"\r" in data:
        return False
    for block in data[:-2].split(b"\n\n"):
        type = b""
        if block.startswith(b"event: "):
            line, _, block = block.partition(b"\n")
            type = line[7:]
        if not block.startswith(b"data: ") or b"\n" in block:
            events.clear()
            return False
        events.append(Event(type, block[6:]))
    return True


def encode(data: bytes) -> bytes:
    """One event that carries `data`, which holds no line end (orjson writes none)."""
    return b"data: " + data + b"\n\n"
