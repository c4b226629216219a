"""The connection pool against a real server that behaves in every way that providers do."""

import asyncio
import gzip
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from gateway.proxies import Proxies
from gateway.upstream import Timeouts, Upstream
from tests import replay
from tests.loops import LOOPS
from tests.loops import run as run_on
from translators.errors import LLMError

T = TypeVar("T")
SHORT = Timeouts(connect_s=2, first_byte_s=0.2, idle_s=0.2)
HELLO = replay.json_reply(200, {"hello": "world"})
EVENTS = replay.event_reply({"a": 1}, {"b": 2})


def run(work: Callable[[Upstream], Awaitable[T]], connections: int = 4) -> T:
    async def within() -> T:
        pool = Upstream(connections, Proxies({}))
        try:
            return await work(pool)
        finally:
            await pool.close()

    return asyncio.run(within())


async def whole(pool: Upstream, url: str, body: bytes = b"{}", timeouts: Timeouts = SHORT) -> tuple[int, bytes]:
    reply = await pool.send(url, {"x-test": "1"}, body, timeouts, lambda _: None)
    try:
        return reply.status, await reply.read(1_000_000)
    finally:
        reply.close()


def failure(url: str) -> LLMError:
    with pytest.raises(LLMError) as caught:
        run(lambda pool: whole(pool, url))
    return caught.value


def test_a_request_arrives_as_it_was_sent(upstream: replay.Upstream) -> None:
    upstream.answer(HELLO)
    status, body = run(lambda pool: whole(pool, f"{upstream.url}/v1/x?alt=sse", b"the body"))
    assert (status, body) == (200, HELLO.body)
    sent = upstream.requests[0]
    assert (sent.method, sent.path, sent.body) == ("POST", "/v1/x?alt=sse", b"the body")
    assert sent.headers["host"] == upstream.url.removeprefix("http://")
    assert (sent.headers["x-test"], sent.headers["accept-encoding"]) == ("1", "identity")


@pytest.mark.parametrize("reply", [HELLO, EVENTS, HELLO.dripped(1), EVENTS.dripped(3)])
def test_a_body_comes_whole_however_it_is_framed_and_cut(upstream: replay.Upstream, reply: replay.Reply) -> None:
    upstream.answer(reply)
    assert run(lambda pool: whole(pool, upstream.url)) == (200, reply.body)


def test_connections_are_kept_and_used_again(upstream: replay.Upstream) -> None:
    upstream.handler = lambda _: HELLO

    async def many(pool: Upstream) -> None:
        for _ in range(5):
            await whole(pool, upstream.url)

    run(many)
    assert (len(upstream.requests), upstream.connections) == (5, 1)


def test_no_more_connections_than_allowed_and_nobody_is_left_out(upstream: replay.Upstream) -> None:
    upstream.handler = lambda _: HELLO

    async def many(pool: Upstream) -> list[tuple[int, bytes]]:
        return await asyncio.gather(*(whole(pool, upstream.url) for _ in range(50)))

    assert len(run(many)) == 50
    assert upstream.connections <= 4


def served(answer: bytes, calls: int) -> list[tuple[int, bytes]]:
    """What `calls` calls get from a server that answers once a connection and closes it when asked for more."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await reader.read(1)
        writer.close()
        await writer.wait_closed()

    async def work(pool: Upstream) -> list[tuple[int, bytes]]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        found = [await whole(pool, url, b"") for _ in range(calls)]
        await pool.close()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.05)  # the handlers see the end of their connections
        return found

    return run(work)


def test_a_connection_that_the_provider_closed_while_idle_is_replaced_unseen() -> None:
    assert served(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 3) == [(200, b"ok")] * 3


def test_informational_responses_are_passed_over() -> None:
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    assert served(early + b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok", 1) == [(201, b"ok")]


def test_what_can_go_wrong_has_one_kind_each(upstream: replay.Upstream) -> None:
    assert failure(replay.refused_url()).kind == "connect"
    assert failure("http://no-such-host.invalid/").kind == "connect"
    upstream.answer(replay.NOTHING)
    assert failure(upstream.url).kind == "connect"
    upstream.answer(replay.SILENCE)
    assert failure(upstream.url).kind == "timeout"
    upstream.answer(HELLO.stalled(5))
    assert failure(upstream.url).kind == "timeout"
    upstream.answer(HELLO.cut(5))
    assert failure(upstream.url).code == "provider_cut_off"
    upstream.answer(EVENTS.cut(5))
    assert failure(upstream.url).code == "provider_cut_off"
    upstream.answer(replay.Reply(200, {"content-encoding": "br"}, (b"x",)))
    assert failure(upstream.url).kind == "bad_upstream"
    for pieces in ((b"no gzip at all",), (b"", b"no gzip at all")):
        upstream.answer(replay.Reply(200, {"content-encoding": "gzip"}, pieces, pause_s=0.02))
        assert failure(upstream.url).kind == "bad_upstream"


def test_a_caller_who_goes_cuts_the_provider_at_once_and_frees_the_place(upstream: replay.Upstream) -> None:
    upstream.answer(replay.SILENCE, HELLO.stalled(3))
    upstream.handler = lambda _: HELLO
    patient = Timeouts(2, 30, 30)

    async def cancelled(pool: Upstream) -> tuple[int, bytes]:
        for _ in range(2):
            call = asyncio.ensure_future(whole(pool, upstream.url, b"{}", patient))
            await asyncio.sleep(0.1)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        return await whole(pool, upstream.url)

    assert run(cancelled, connections=1) == (200, HELLO.body)
    upstream.wait_until(lambda: upstream.hung_up == 2)


def test_a_slow_reader_stops_the_reading_from_the_provider(upstream: replay.Upstream) -> None:
    piece = b"x" * 65536
    upstream.answer(replay.Reply(200, replay.EVENTS, (piece,) * 400))

    async def slowly(pool: Upstream) -> tuple[int, int]:
        reply = await pool.send(upstream.url, {}, b"{}", Timeouts(2, 5, 5), lambda _: None)
        await asyncio.sleep(0.3)
        first = len(await reply.next())
        rest = len(await reply.read(400 * 65536))
        reply.close()
        return first, first + rest

    first, total = run(slowly)
    assert total == 400 * 65536
    assert first < total / 4


def test_a_body_flows_without_being_asked_for(upstream: replay.Upstream) -> None:
    pieces = tuple(b"%d," % number for number in range(30))
    upstream.handler = lambda _: replay.Reply(200, replay.EVENTS, pieces, pause_s=0.01)

    async def flowing(pool: Upstream) -> None:
        reply = await pool.send(upstream.url, {}, b"{}", SHORT, lambda _: None)
        taken: list[bytes] = []

        def take(piece: bytes) -> bool:
            taken.append(piece)
            return b"10," not in piece and piece != b""

        await reply.flow(take, 0.12)
        assert taken[-1].endswith(b"10,") and len(taken) > 5
        taken.append(await reply.next())
        await reply.flow(take, 0.12)  # longer in all than the silence that is borne
        assert b"".join(taken) == b"".join(pieces) and taken[-1] == b"" and reply.complete
        assert reply.received_bytes == len(b"".join(pieces))
        reply.close()
        await whole(pool, upstream.url)

    run(flowing)
    assert upstream.connections == 1


def test_what_ends_a_flow_is_raised_where_it_is_waited_for(upstream: replay.Upstream) -> None:
    said = replay.Reply(200, replay.EVENTS, (b"a", b"b", b"c"), pause_s=0.05)
    upstream.answer(said, said.stalled(1), said.cut(1), said)

    def refuse(piece: bytes) -> bool:
        if piece == b"b":
            raise LLMError("bad_upstream", "not this one", code="refused")
        return piece != b""

    async def flows(pool: Upstream) -> list[str | None]:
        found: list[str | None] = []
        for take in (refuse, bool, bool):
            reply = await pool.send(upstream.url, {}, b"{}", SHORT, lambda _: None)
            try:
                await reply.flow(take, 0.15)
            except (LLMError, TimeoutError) as error:
                found.append(error.code if isinstance(error, LLMError) else "silent")
            finally:
                reply.close()
        reply = await pool.send(upstream.url, {}, b"{}", SHORT, lambda _: None)
        waiting = asyncio.ensure_future(reply.flow(bool, 5))
        await asyncio.sleep(0.02)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert await reply.next() == b"a"  # nobody takes it any more
        reply.close()
        return found

    assert run(flows) == ["refused", "silent", "provider_cut_off"]


def test_a_header_cannot_smuggle_another() -> None:
    async def smuggle(pool: Upstream) -> object:
        return await pool.send("http://127.0.0.1:9/", {"x": "a\r\ny: b"}, b"", SHORT, lambda _: None)

    with pytest.raises(LLMError):
        run(smuggle)


def test_a_compressed_answer_is_read_all_the_same(upstream: replay.Upstream) -> None:
    upstream.answer(replay.Reply(429, {"content-encoding": "gzip"}, (gzip.compress(b"slow down"),)))
    assert run(lambda pool: whole(pool, upstream.url)) == (429, b"slow down")


def test_what_comes_behind_an_answer_is_no_part_of_it() -> None:
    twice = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok" + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nEVIL"
    assert served(twice, 2) == [(200, b"ok")] * 2


def test_a_provider_that_was_at_work_when_it_closed_is_not_asked_again(
    upstream: replay.Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.connection.STALE_S", 0.05)
    upstream.answer(HELLO, replay.Reply(head=False, ending="cut", first_byte_s=0.15))

    async def warm_then_work(pool: Upstream) -> None:
        await whole(pool, upstream.url)
        await whole(pool, upstream.url, timeouts=Timeouts(2, 5, 5))

    with pytest.raises(LLMError) as caught:
        run(warm_then_work)
    assert caught.value.code == "provider_cut_off"
    assert len(upstream.requests) == 2


def test_it_is_told_when_a_request_is_on_its_way(upstream: replay.Upstream) -> None:
    told: list[bool] = []

    async def refused(pool: Upstream) -> None:
        await pool.send(replay.refused_url(), {}, b"", SHORT, told.append)

    async def silent(pool: Upstream) -> None:
        await pool.send(upstream.url, {}, b"", SHORT, told.append)

    upstream.answer(replay.SILENCE)
    for call in (refused, silent):
        with pytest.raises(LLMError):
            run(call)
    assert told == [True]


def test_it_is_told_when_nobody_took_the_request_after_all(upstream: replay.Upstream) -> None:
    told: list[bool] = []
    upstream.answer(HELLO, replay.NOTHING, HELLO)

    async def twice(pool: Upstream) -> None:
        await whole(pool, upstream.url)
        (await pool.send(upstream.url, {}, b"", SHORT, told.append)).close()

    run(twice)
    assert told == [True, False, True]


def test_a_provider_who_reads_slowly_costs_no_second_copy_of_the_body() -> None:
    body = b"x" * 32_000_000
    taken = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await taken.wait()
        while len(await reader.read(1_000_000)) > 0:
            pass
        writer.close()

    async def measured() -> int:
        server = await asyncio.start_server(listen, "127.0.0.1", 0)
        pool = Upstream(1, Proxies({}))
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        tracemalloc.start()
        call = asyncio.ensure_future(pool.send(url, {}, body, SHORT._replace(first_byte_s=5), lambda _: None))
        await asyncio.sleep(0.2)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        call.cancel()
        taken.set()
        await pool.close()
        server.close()
        await asyncio.sleep(0.05)  # it sees the end of its connection
        return most

    assert run_on("uvloop", measured()) < len(body) / 4  # asyncio's own transport would copy it


@pytest.mark.parametrize("loop", LOOPS)
def test_a_reader_who_does_not_read_stops_the_provider(loop: str) -> None:
    piece, most = b"x" * 65536, 64 * 1024 * 1024
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while sent < most:
                writer.write(piece)
                sent += len(piece)
                await writer.drain()
        except OSError:
            pass
        writer.close()

    async def measured() -> int:
        server = await asyncio.start_server(flood, "127.0.0.1", 0)
        pool = Upstream(1, Proxies({}))
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        reply = await pool.send(url, {}, b"", SHORT, lambda _: None)
        await asyncio.sleep(0.3)
        held = sent
        assert len(await reply.read(most)) == most
        reply.close()
        await pool.close()
        server.close()
        await asyncio.sleep(0.05)  # it sees the end of its connection
        return held

    assert run_on(loop, measured()) < most / 4  # the kernel's buffers, and HIGH_WATER_BYTES


def test_a_closed_reply_says_no_more_of_a_connection_that_is_another_ones(upstream: replay.Upstream) -> None:
    upstream.answer(HELLO, HELLO.stalled(5))

    async def twice(pool: Upstream) -> None:
        first = await pool.send(upstream.url, {}, b"", SHORT, lambda _: None)
        await first.read(1000)
        first.close()
        second = await pool.send(upstream.url, {}, b"", SHORT, lambda _: None)
        assert first.complete and await first.next() == b"" and first.close() == ()
        assert not second.complete and await second.next()
        second.close()
        assert not second.complete

    run(twice, connections=1)
    assert upstream.connections == 1
