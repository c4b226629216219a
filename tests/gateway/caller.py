"""A caller for tests of HTTP on the wire, who reads it byte by byte, and the application that answers."""

import asyncio
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress

from starlette.types import Receive, Scope, Send

from gateway.http1_exchange import exchange_of

PIECE = b"x" * 60_000
KEPT_S = 1  # that an idle connection is kept open
LONG = 3_000_000  # bytes: beyond what sockets and the server keep
HUNG_UP = threading.Event()


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers by its path."""
    if scope["path"] == "/at-once":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})
        return
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            HUNG_UP.set()
            return
        body += message["body"]
        if not message["more_body"]:
            break

    async def begin(status: int = 200, **headers: str) -> None:
        lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": lines})

    async def say(data: bytes, more: bool = False) -> None:
        await send({"type": "http.response.body", "body": data, "more_body": more})

    match scope["path"]:
        case "/whole":
            await begin(content_length="5")
            await say(b"whole")
        case "/pieces":
            await begin()
            for piece in (b"one", b"", b"two"):
                await say(piece, more=True)
            await say(b"")
        case "/busy":
            time.sleep(0.3)  # noqa: ASYNC251 - as a loop with much to do: what others send comes in one piece
            await begin(content_length="2")
            await say(b"ok")
        case "/none":
            await begin(204)
            await say(b"")
        case "/echo":
            await begin(content_length=str(len(body)))
            await say(body)
        case "/closes":
            await begin(content_length="2", connection="close")
            await say(b"ok")
        case "/short":
            await begin(content_length="9")
            await say(b"short")
        case "/injected":
            await begin(content_length="2", x_a="b\r\nx-c: d")
            await say(b"ok")
        case "/written":
            exchange = exchange_of(send)
            assert exchange is not None
            write = exchange.write
            await begin()
            assert write(PIECE) and write(b"")
            pieces = 1
            while write(PIECE) and pieces < LONG:
                pieces += 1
            await say(b"%d" % pieces, more=True)  # once the client has read
            await say(b"")
        case "/answered":
            exchange = exchange_of(send)
            assert exchange is not None
            if not exchange.answer(200, b"x-a: b\r\n", b"all at once"):
                await begin(content_length="9")
                await say(b"by pieces")
        case "/begun":
            exchange = exchange_of(send)
            assert exchange is not None
            if not exchange.answer(200, b"x-a: b\r\n", None):
                await begin(x_a="b")
            for piece in (b"one", b"two"):
                await say(piece, more=True)
            await say(b"")
        case "/told":
            exchange = exchange_of(receive)
            assert exchange is not None
            told = asyncio.Event()
            exchange.when_gone(told.set)
            await told.wait()
            HUNG_UP.set()
        case "/late":
            await asyncio.sleep(0.05)
            await begin(content_length="4")
            await say(b"late")
        case "/waits":
            await receive()
            HUNG_UP.set()
        case "/goes-on":
            await begin()
            gone = asyncio.ensure_future(receive())
            while not gone.done():
                await say(b"more", more=True)
                await asyncio.sleep(0.01)
            HUNG_UP.set()
        case "/flood":
            await begin()
            with suppress(Exception):
                while exchange_of(send).disconnected is False:  # type: ignore[union-attr]  # there is one
                    await say(PIECE, more=True)
            HUNG_UP.set()
        case "/seen":
            seen = repr([scope["headers"], body]).encode()
            await begin(content_length=str(len(seen)))
            await say(seen)
        case "/headers":
            seen = repr([scope["headers"], exchange_of(send).fields]).encode()  # type: ignore[union-attr]  # there is one
            await begin(content_length=str(len(seen)))
            await say(seen)
        case "/scope":
            seen = repr(
                [scope[name] for name in ("method", "path", "raw_path", "query_string", "http_version")]
            ).encode()
            await begin(content_length=str(len(seen)))
            await say(seen)


class Client:
    """One connection, read as HTTP is read."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        self.file = self.socket.makefile("rb")

    def send(self, line: str, body: bytes = b"", **headers: str) -> None:
        lines = [line + (" HTTP/1.1" if "HTTP/" not in line else ""), "host: x"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if body:
            lines.append(f"content-length: {len(body)}")
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    def head(self) -> tuple[int, Mapping[str, str]]:
        status = int(self.file.readline().split()[1])
        headers = {}
        while line := self.file.readline().decode().strip():
            name, _, value = line.partition(": ")
            headers[name] = value
        return status, headers

    def whole(self) -> tuple[int, bytes]:
        status, headers = self.head()
        if headers.get("transfer-encoding") != "chunked":
            return status, self.file.read(int(headers.get("content-length", 0)))
        body = b""
        while size := int(self.file.readline(), 16):
            body += self.file.read(size)
            assert self.file.readline() == b"\r\n"
        assert self.file.readline() == b"\r\n"
        return status, body

    def hang_up(self) -> None:
        self.file.close()
        self.socket.close()

    def ended(self) -> bool:
        return self.file.read() == b""
