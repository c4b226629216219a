"""One connection, whatever the provider sends: the right body or one LLMError, never a hang, never another's bytes."""

import asyncio
import gzip
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.connection import APART, HIGH_WATER_BYTES, MAX_HEAD_BYTES, TURN, Connection, Stale, Tick
from gateway.upstream import Reply
from translators.errors import LLMError

PATIENCE_S = 5.0  # never waited for: what hangs fails with TimeoutError
CODINGS: dict[str, Callable[[bytes], bytes]] = {"identity": bytes, "gzip": gzip.compress, "deflate": zlib.compress}
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Wire(asyncio.Transport):
    """The other end, in the test's hands."""

    def __init__(self) -> None:
        super().__init__()
        self.closing = self.paused = False
        self.unsent = 0

    def write(self, data: object) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.closing = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Pool:
    """Where the connection goes back to: whether it was kept, each time."""

    def __init__(self) -> None:
        self.kept: list[bool] = []
        self.wire = Wire()
        self.tick = Tick()
        self.connection = Connection(self)
        self.connection.connection_made(self.wire)

    def ended(self, connection: Connection, *, keep: bool) -> None:
        self.kept.append(keep)

    def lost(self, connection: Connection) -> None:
        pass

    async def told(self, pieces: Sequence[bytes], closes: bool) -> bytes:
        """The body that one exchange comes to, each piece in a turn of the loop's own. Raises LLMError, Stale."""
        provider = asyncio.ensure_future(self._provide(pieces, closes))
        try:
            await self.connection.exchange(b"", b"", PATIENCE_S, lambda _: None)
            return await Reply(self.connection, PATIENCE_S).read(10_000_000)
        finally:
            await provider
            self.connection.release()

    async def _provide(self, pieces: Sequence[bytes], closes: bool) -> None:
        for piece in pieces:
            await asyncio.sleep(0)
            if self.wire.closing:
                break
            self.connection.data_received(piece)
        if closes or self.wire.closing:
            self.wire.closing = True
            self.connection.connection_lost(None)


async def told(pieces: Sequence[bytes], closes: bool) -> tuple[bytes, bool]:
    """The body that a fresh connection's exchange comes to, and whether it was kept."""
    pool = Pool()
    try:
        body = await pool.told(pieces, closes)
    finally:
        assert len(pool.kept) == 1 and pool.wire.closing is not pool.kept[0]
    return body, pool.kept[0]


@dataclass(frozen=True)
class Answer:
    """A good one, as bytes, and what is to come of it."""

    wire: bytes
    body: bytes
    head_bytes: int
    closes: bool  # its end is the connection's
    coded: bool
    kept: bool


@st.composite
def answers(draw: st.DrawFn, framings: Sequence[str] = ("length", "chunked", "close")) -> Answer:
    """Of any framing and coding, behind any number of early ones."""
    body = draw(st.binary(max_size=300))
    coding, framing = draw(st.sampled_from(sorted(CODINGS))), draw(st.sampled_from(framings))
    early = draw(st.lists(st.sampled_from((b"100 Continue", b"103 Early Hints\r\ncontent-encoding: br")), max_size=2))
    sent = CODINGS[coding](body)
    kept = framing != "close" and draw(st.booleans())
    lines = [b"HTTP/1.1 200 OK", b"X-Empty:", b"Content-Encoding: " + coding.encode(), b"x-note: \xff\t"]
    lines += [] if kept or framing == "close" else [b"Connection: close"]
    if framing == "length":
        lines.append(b"Content-Length: %d" % len(sent))
    elif framing == "chunked":
        lines.append(b"Transfer-Encoding: " + draw(st.sampled_from((b"chunked", b"Chunked"))))
        sent = _chunked(sent, draw(st.lists(st.integers(1, 60), max_size=6)), draw(st.booleans()))
    head = b"".join(b"HTTP/1.1 %b\r\n\r\n" % each for each in early) + b"\r\n".join([*lines, b"", b""])
    return Answer(head + sent, body, len(head), framing == "close", coding != "identity", kept)


def _chunked(content: bytes, sizes: Sequence[int], trailer: bool) -> bytes:
    made = b""
    for size in [*sizes, len(content)]:
        piece, content = content[:size], content[size:]
        made += b"%x;an=extension\r\n%b\r\n" % (len(piece), piece) if piece else b""
    return made + (b"0\r\ncontent-encoding: br\r\nx-late: 1\r\n\r\n" if trailer else b"0\r\n\r\n")


def split(data: bytes, at: Sequence[int]) -> list[bytes]:
    """Cut at these places, taken modulo its length."""
    places = sorted({place % (len(data) + 1) for place in at} | {0, len(data)})
    return [data[begin:end] for begin, end in pairwise(places)]


CUTS = st.lists(st.integers(0, 2000), max_size=12)


@given(st.lists(st.tuples(answers(), CUTS), min_size=1, max_size=4))
def test_a_good_answer_comes_whole_however_it_is_cut_and_leaves_nothing_to_the_next(
    exchanges: list[tuple[Answer, list[int]]],
) -> None:
    async def work() -> None:
        pool = Pool()
        for answer, cuts in exchanges:
            assert await pool.told(split(answer.wire, cuts), answer.closes) == answer.body
            assert pool.kept[-1] is answer.kept and b"x-late" not in pool.connection.head
            if not answer.kept:
                assert pool.wire.closing
                pool = Pool()

    asyncio.run(work())


@given(answers(), CUTS, st.integers(0, 10_000))
def test_an_answer_that_is_cut_off_at_any_byte_is_an_error(answer: Answer, cuts: list[int], end: int) -> None:
    end %= len(answer.wire)
    begun = answer.closes and end >= answer.head_bytes  # then the connection's end is the body's: nothing tells

    work = told(split(answer.wire[:end], cuts), True)
    if begun and (not answer.coded or end == answer.head_bytes):
        assert answer.body.startswith(asyncio.run(work)[0])
    else:
        with pytest.raises((LLMError, Stale)) as caught:
            asyncio.run(work)
        assert isinstance(caught.value, Stale) is (end == 0)


BEHIND = st.sampled_from((OK, OK[:1], OK[:11], OK[:30], b"x", b"\x00\xff")) | st.binary(min_size=1, max_size=40).filter(
    lambda data: data.strip(b"\r\n") != b""
)


@given(answers(("length", "chunked")), CUTS, BEHIND, st.booleans())
@example(Answer(OK, b"ok", 38, closes=False, coded=False, kept=True), [], OK[:9], True)
def test_what_comes_behind_an_answer_is_nobodys(answer: Answer, cuts: list[int], behind: bytes, at_once: bool) -> None:
    async def work() -> bytes:
        pool, (*pieces, last) = Pool(), split(answer.wire, cuts)
        body = await pool.told([*pieces, last + behind] if at_once else [*pieces, last, behind], False)
        assert pool.wire.closing or not at_once  # else it may come only to the idle connection
        if not pool.wire.closing:
            pool.connection.data_received(behind)
        assert pool.wire.closing
        return body

    assert asyncio.run(work()) == answer.body


@given(st.binary(max_size=200), CUTS)
def test_what_is_not_http_is_an_error(garbage: bytes, cuts: list[int]) -> None:
    with pytest.raises((LLMError, Stale)):
        asyncio.run(told(split(garbage, cuts), True))


@given(answers(), st.integers(0, 10_000), st.binary(max_size=3), st.integers(0, 3), CUTS)
def test_a_damaged_answer_ends_one_way_or_the_other(
    answer: Answer, at: int, put: bytes, drop: int, cuts: list[int]
) -> None:
    at %= len(answer.wire)
    damaged = answer.wire[:at] + put + answer.wire[at + drop :]
    try:
        assert not asyncio.run(told(split(damaged, cuts), True))[1]
    except (LLMError, Stale) as error:
        assert isinstance(error, Stale) or error.kind == "bad_upstream"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 4000,
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * MAX_HEAD_BYTES,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n" + b"x: y\r\n" * MAX_HEAD_BYTES,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;" + b"x" * 2 * MAX_HEAD_BYTES,
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: zstd\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 42\r\n\r\n" + gzip.compress(b"a") * 2,
    ],
)
def test_an_answer_that_cannot_be_right_is_an_error(answer: bytes) -> None:
    with pytest.raises(LLMError):
        asyncio.run(told(split(answer, range(0, len(answer), 4096)), False))


def test_an_empty_answer_need_not_be_compressed() -> None:
    empty = b"HTTP/1.1 429 Too Many\r\ncontent-encoding: gzip\r\ncontent-length: 0\r\n\r\n"
    assert asyncio.run(told([empty], False)) == (b"", True)


def test_an_answer_before_the_request_is_written_is_read_and_the_connection_cut() -> None:
    async def work() -> None:
        pool = Pool()
        pool.wire.unsent = 1000
        assert await pool.told([OK], False) == b"ok"
        assert pool.kept == [False] and pool.wire.closing

    asyncio.run(work())


def test_what_nobody_asked_for_cuts_an_idle_connection() -> None:
    async def work() -> None:
        pool = Pool()
        assert await pool.told([OK], False) == b"ok"
        assert pool.connection.usable()
        pool.connection.data_received(OK)
        assert not pool.connection.usable()

    asyncio.run(work())


def test_no_more_is_read_than_somebody_takes() -> None:
    piece = b"x" * 65536

    async def work() -> None:
        pool, given = Pool(), 0

        def send() -> None:
            nonlocal given
            while not pool.wire.paused:
                pool.connection.data_received(piece)
                given += len(piece)

        sending = asyncio.ensure_future(pool.connection.exchange(b"", b"", PATIENCE_S, lambda _: None))
        await asyncio.sleep(0)
        pool.connection.data_received(b"HTTP/1.1 200 OK\r\n\r\n")
        await sending
        reply = Reply(pool.connection, PATIENCE_S)
        for times in (1, 2, 3):
            send()
            assert given <= times * (HIGH_WATER_BYTES + len(piece))
            await reply.next()
        assert reply.received_bytes == given

    asyncio.run(work())


def test_an_unread_answer_that_stopped_the_reading_costs_the_connection() -> None:
    body = b"x" * 2 * HIGH_WATER_BYTES

    async def work() -> None:
        pool = Pool()
        sending = asyncio.ensure_future(pool.connection.exchange(b"", b"", PATIENCE_S, lambda _: None))
        await asyncio.sleep(0)
        pool.connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body[1:]))
        pool.connection.data_received(body[:1])
        await sending
        reply = Reply(pool.connection, PATIENCE_S)
        assert reply.complete and b"".join(reply.close()) == body
        assert pool.kept == [False] and pool.wire.closing

    asyncio.run(work())


async def heard_after(connection: Connection, seconds: float, patience_s: float) -> bool:
    """Whether a wait of `patience_s` hears of something that happens after so many seconds."""
    asyncio.get_running_loop().call_later(seconds, connection.data_received, b"HTTP/")
    try:
        await connection.something(patience_s)
    except TimeoutError:
        return False
    return True


def test_each_wait_has_its_own_time() -> None:
    async def work() -> list[bool]:
        connection = Pool().connection
        with pytest.raises(TimeoutError):
            await connection.exchange(b"", b"", 0.02, lambda _: None)
        waits = ((0.03, 0.5), (0.1, 0.2), (0.15, 0.5), (0.1, 0.02), (0.2, 0.5), (0.02, 0.5))
        return [await heard_after(connection, *wait) for wait in waits]

    assert asyncio.run(work()) == [True, True, True, False, True, True]


def test_an_idle_connection_is_cut_in_the_end_and_a_busy_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.connection.IDLE_CONNECTION_S", 0.1)

    async def work() -> None:
        idle, busy = Pool(), Pool()
        for pool in (idle, busy):
            assert await pool.told([OK], False) == b"ok"
        sending = asyncio.ensure_future(busy.connection.exchange(b"", b"", PATIENCE_S, lambda _: None))
        await asyncio.sleep(0.2)
        assert idle.wire.closing and not idle.connection.usable()
        assert not busy.wire.closing
        busy.connection.data_received(OK)
        await sending

    asyncio.run(work())


async def flowing(connection: Connection, take: Callable[[bytes], bool]) -> "asyncio.Future[bool]":
    """An exchange whose head has come, and whose body flows from here on."""
    asking = asyncio.ensure_future(connection.exchange(b"", b"", PATIENCE_S, lambda _: None))
    await asyncio.sleep(0)
    connection.data_received(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    waiter = connection.flowing(take, PATIENCE_S)
    await asking
    return waiter


def test_what_comes_in_one_tick_is_handed_on_as_one_piece_when_all_is_read() -> None:
    async def main() -> tuple[list[bytes], list[bytes]]:
        pool, taken = Pool(), list[bytes]()

        def take(piece: bytes) -> bool:
            taken.append(piece)
            return True

        waiter = await flowing(pool.connection, take)
        pool.connection.data_received(b"3\r\none\r\n")
        pool.connection.data_received(b"3\r\ntwo\r\n")
        at_once = [*taken]
        await asyncio.sleep(0)
        waiter.cancel()
        return at_once, taken

    assert asyncio.run(main()) == ([], [b"onetwo"])


def test_what_is_kept_for_the_tick_counts_as_come_where_the_exchange_ends_before() -> None:
    async def main() -> tuple[bytes, ...]:
        pool = Pool()
        waiter = await flowing(pool.connection, lambda _: True)
        pool.connection.data_received(b"3\r\none\r\n")
        waiter.cancel()  # as where the client hangs up
        pool.connection.dammed()
        unread = pool.connection.release()
        await asyncio.sleep(0)  # the tick has nothing left of it
        assert pool.kept == [False]
        return unread

    assert asyncio.run(main()) == (b"one",)


def test_a_fault_with_one_stream_does_not_keep_the_others_waiting() -> None:
    class Faulty(Connection):
        def read(self, data: bytes) -> None:
            if data == b"bad":
                raise ValueError("a fault")
            read.append(data)

    read: list[bytes] = []

    async def main() -> None:
        pool = Pool()
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        for data in (b"bad", b"good"):
            pool.tick.add(Faulty(pool), data)
        await asyncio.sleep(0.01)

    asyncio.run(main())
    assert read == [b"good"]


class Streaming:
    """Many streams of one pool, in the midst of their bodies; what was taken of each, in order."""

    def __init__(self, pool: Pool) -> None:
        self.taken: list[tuple[int, bytes]] = []
        self._pool, self._waiters = pool, list[asyncio.Future[bool]]()

    async def begun(self, at: int) -> Connection:
        connection = Connection(self._pool)
        connection.connection_made(Wire())

        def take(piece: bytes) -> bool:
            self.taken.append((at, piece))
            return True

        self._waiters.append(await flowing(connection, take))
        return connection

    def end(self) -> None:
        for waiter in self._waiters:
            waiter.cancel()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def test_between_the_pieces_of_many_streams_others_have_their_turn() -> None:
    async def main() -> None:
        streaming, seen = Streaming(Pool()), list[int]()
        connections = [await streaming.begun(at) for at in range(2 * TURN)]
        for connection in connections:
            connection.data_received(chunk(b"one"))
        await asyncio.sleep(0)
        seen.append(len(streaming.taken))
        for connection in connections:  # of the first half nothing waits, and they are behind the others
            connection.data_received(chunk(b"two"))
            connection.data_received(chunk(b"three"))
        for _ in range(2):
            await asyncio.sleep(0)
            seen.append(len(streaming.taken))
        streaming.end()
        assert seen == [TURN, 2 * TURN, 3 * TURN]
        first, second = range(TURN), range(TURN, 2 * TURN)
        alone, together = [(at, b"onetwothree") for at in second], [(at, b"twothree") for at in first]
        assert streaming.taken == [*((at, b"one") for at in first), *alone, *together]

    asyncio.run(main())


def test_a_stream_that_pours_does_not_wait_until_it_has_filled_the_memory() -> None:
    async def main() -> None:
        streaming, half = Streaming(Pool()), b"x" * (HIGH_WATER_BYTES // 2)
        connections = [await streaming.begun(at) for at in range(2)]
        connections[0].data_received(chunk(b"before"))
        connections[1].data_received(chunk(half))
        assert streaming.taken == []
        connections[1].data_received(chunk(half))
        assert streaming.taken == [(1, half + half)]
        connections[1].data_received(chunk(b"behind"))
        await asyncio.sleep(0)
        streaming.end()
        assert streaming.taken[1:] == [(0, b"before"), (1, b"behind")]

    asyncio.run(main())


def test_what_comes_behind_a_piece_that_waits_does_not_overtake_it() -> None:
    async def main() -> bytes | None:
        connection = await (streaming := Streaming(Pool())).begun(0)
        connection.data_received(chunk(b"one"))
        connection.dammed()
        connection.data_received(chunk(b"two"))
        await asyncio.sleep(0)
        streaming.end()
        return connection.take()

    assert asyncio.run(main()) == b"onetwo"


def test_the_end_of_a_stream_that_waits_for_its_turn_has_come_where_the_client_leaves() -> None:
    async def main() -> None:
        connection = await (streaming := Streaming(Pool())).begun(0)
        connection.data_received(chunk(b"usage") + b"0\r\n\r\n")
        reply = Reply(connection, PATIENCE_S)
        streaming.end()
        assert (reply.close(), reply.complete, reply.received_bytes) == ((b"usage",), True, 5)

    asyncio.run(main())


def test_pieces_that_come_one_by_one_are_handed_on_at_once_until_they_come_together_again() -> None:
    async def main() -> list[int]:
        pool, waiting = Pool(), list[int]()
        taken: list[bytes] = []

        def take(piece: bytes) -> bool:
            taken.append(piece)
            return True

        waiter = await flowing(pool.connection, take)
        for _ in range(APART + 2):
            pool.connection.data_received(b"1\r\nx\r\n")
            waiting.append(1 - len(taken))
            await asyncio.sleep(0)
            taken.clear()
        for _ in range(4):
            pool.connection.data_received(b"1\r\nx\r\n")
        waiting.append(4 - len(taken))
        await asyncio.sleep(0)
        waiter.cancel()
        return waiting

    # the first and, after so many, another is kept for a look whether it has company
    assert asyncio.run(main()) == [1, *[0] * APART, 1, 0]
