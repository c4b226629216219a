"""The caller's end of the connection: what goes out, in OpenAI's shapes, over raw ASGI."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from math import ceil
from urllib.parse import quote

import orjson
from starlette.types import Receive, Send

from gateway.hang_up import HungUp
from gateway.http1_exchange import exchange_of
from translators import sse
from translators.errors import LLMError

STREAM_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",  # nginx would hold small events back
}
MAX_RETRY_AFTER_S = 2 * 86_400  # a limit a day may take a little over one
CODING = b"content-encoding"
JSON = {"content-type": "application/json"}
_WHOLE, _STREAM = tuple(JSON.items()), tuple(STREAM_HEADERS.items())


class Client:
    """Writes one response: a whole body, or a stream that may turn out to fail half-way."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self.exchange = exchange = exchange_of(send)
        self._write = None if exchange is None else exchange.write
        self.request_id = request_id
        self.key_id, self.billed = "", False  # whose request it is, once that is known; its end is a bill's to tell
        self._unsent: list[bytes] = []  # of a stream: the client has not read what is before it
        self.begun = False
        self.behind_bytes = 0  # of that

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """The status line and the headers."""
        lines = [(name.encode("latin-1"), _value(value)) for name, value in headers.items()]
        lines.append((b"x-request-id", self.request_id.encode()))
        await self._send({"type": "http.response.start", "status": status, "headers": lines})
        self.begun = True

    async def stream(self, headers: Mapping[str, str]) -> None:
        """The head of a stream, which goes out with its first piece."""
        head = None if self.exchange is None else self._lines(_STREAM, headers)
        if self.exchange is not None and head is not None and self.exchange.answer(200, head, None):
            self.begun = True
        else:
            await self.start(200, {**STREAM_HEADERS, **headers})

    def write(self, data: bytes) -> bool:
        """A piece of a stream: sent at once, or with `caught_up` where the client does not keep up; whether it was."""
        if self._write is not None and not self._unsent and self._write(data):
            return True
        self._unsent.append(data)
        self.behind_bytes += len(data)
        return False

    async def caught_up(self) -> None:
        """Until all that was written has been sent."""
        while self._unsent:
            data = b"".join(self._unsent)
            self._unsent = [data]
            await self._send({"type": "http.response.body", "body": data, "more_body": True})
            del self._unsent[0]
            self.behind_bytes -= len(data)

    async def end(self, data: bytes = b"") -> None:
        """The last piece, behind what is still to be sent."""
        await self._send({"type": "http.response.body", "body": b"".join([*self._unsent, data])})

    async def whole(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """A response in one piece."""
        head = None if self.exchange is None else self._lines(_WHOLE, headers)
        if self.exchange is not None and head is not None and self.exchange.answer(status, head, body):
            self.begun = True
            return
        await self.start(status, {**JSON, **headers, "content-length": str(len(body))})
        await self.end(body)

    def _lines(self, always: tuple[tuple[str, str], ...], headers: Mapping[str, str]) -> bytes | None:
        """The headers of an answer as they stand on the wire; None where one of them cannot stand there."""
        values, form = tuple(headers.values()), _form(always, tuple(headers))
        if form is None or not "".join(values).isprintable():
            return None
        lines = [*form]
        lines[1::2] = (self.request_id, *values)
        return "".join(lines).encode("latin-1", errors="replace")

    async def error(self, error: LLMError) -> None:
        """Say what went wrong: with a status, or as an event where the 200 is long gone, and then no [DONE]."""
        body = orjson.dumps(error.body())
        if self.begun:
            await self.end(sse.encode(body))
            return
        headers = dict(error.headers)
        if error.retry_after_s is not None:
            headers["retry-after"] = f"{min(max(1, ceil(error.retry_after_s)), MAX_RETRY_AFTER_S)}"
        await self.whole(error.status, body, headers)


@lru_cache(maxsize=256)
def _form(always: tuple[tuple[str, str], ...], names: tuple[str, ...]) -> Sequence[str] | None:
    """The head of an answer, with room for the request's id and the values of these headers at every second place."""
    if not "".join(names).isprintable():
        return None
    form = ["".join(f"{name}: {value}\r\n" for name, value in always) + "x-request-id: "]
    for name in names:
        form += ("", f"\r\n{name}: ")
    return (*form, "", "\r\n")


async def read_body(fields: Mapping[bytes, bytes], receive: Receive, limit: int) -> bytes:
    """The request's body. Raises LLMError("too_large") past `limit` bytes, HungUp when the client goes away."""
    length = fields.get(b"content-length", b"")
    if length.isdigit() and int(length) > limit:
        raise too_large(limit)
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HungUp
        piece = message.get("body", b"")
        size += len(piece)
        if size > limit:
            raise too_large(limit)
        if not message.get("more_body"):
            return b"".join([*pieces, piece]) if pieces else piece
        pieces.append(piece)


def check_coding(fields: Mapping[bytes, bytes]) -> None:
    """Raises LLMError where the request's body is compressed (RFC 9110, section 15.5.16)."""
    coding = fields[CODING].decode("latin-1").strip().lower()
    if coding not in ("", "identity"):
        message = f"The request's body has the content-encoding {coding[:40]!r}: it is taken only as it is"
        raise LLMError("invalid_request", message, status=415, headers={"accept-encoding": "identity"})


def too_large(limit: int) -> LLMError:
    """The error for a request's body of more bytes than that."""
    return LLMError("too_large", f"The request is larger than the {limit} bytes that are taken here")


def _value(value: str) -> bytes:
    if value.isascii() and value.isprintable():
        return value.encode()
    return value.encode("latin-1", errors="replace").translate(_WITHOUT_CONTROLS)


_WITHOUT_CONTROLS = bytes(32 if byte < 32 or byte == 127 else byte for byte in range(256))


def feature_list(features: Iterable[str]) -> str:
    """Names in one header value; what a header cannot carry is percent-encoded."""
    return ", ".join(quote(feature, safe=":[].=_-") for feature in features)
