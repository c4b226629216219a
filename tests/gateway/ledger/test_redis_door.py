"""Pipelines to a server that answers as it is told: lost connections, callers that are turned away, demanded writes."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from gateway.ledger import redis_door
from gateway.ledger.redis_door import Door, Speak, Wait, failed, unknown_script
from gateway.ledger.redis_durability import wait
from gateway.ledger.store import StoreDown
from tests.gateway.ledger.cable import Cable
from tests.redis_server import own_server, until

pytestmark = pytest.mark.anyio


class Actor:
    """A server whose lines are written beforehand: the answer to a command by its first word, else +OK."""

    def __init__(self) -> None:
        self.answers: dict[str, str] = {}
        self.heard: list[str] = []
        self.joins = 0
        self.hangs_up_on = ""
        self._listener: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def is_server(self, run_id: str) -> None:
        about = f"redis_version:7.4.1\r\nrun_id:{run_id}\r\n"
        self.answers["INFO"] = f"${len(about)}\r\n{about}\r\n"

    async def begin(self) -> None:
        self._listener = await asyncio.start_server(self._play, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    def say(self, answer: str) -> None:
        """To who joined first."""
        self._writers[0].write(answer.encode())

    async def end(self) -> None:
        if self._listener is not None:
            self._listener.close()
        for writer in self._writers:
            writer.close()
            await writer.wait_closed()
        self._writers.clear()

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.joins += 1
        self._writers.append(writer)
        while head := await reader.readline():
            words = []
            for _ in range(int(head[1:])):
                size = int((await reader.readline())[1:])
                words.append((await reader.readexactly(size + 2))[:-2].decode())
            if words[0] == self.hangs_up_on:
                self.hangs_up_on = ""
                break
            if words[0] != "CLIENT":
                self.heard.append(" ".join(words))
            writer.write(self.answers.get(words[0], "+OK\r\n").encode())
        writer.close()


@pytest.fixture
async def actor() -> AsyncIterator[Actor]:
    actor = Actor()
    actor.is_server("first")
    await actor.begin()
    yield actor
    await actor.end()


async def _nothing(speak: Speak) -> None:
    """There is nothing to tell."""


@pytest.fixture
async def door(actor: Actor) -> AsyncIterator[Door]:
    door = Door(actor.url, "k", _nothing)
    yield door
    await door.close()


async def test_a_connection_is_kept_and_its_server_known(actor: Actor, door: Door) -> None:
    assert await door.pipeline([("PING",), ("GET", "a")]) == [b"OK", b"OK"]
    assert await door.pipeline([("PING",)]) == [b"OK"]
    assert await door.pipeline([]) == ()
    assert actor.heard == ["INFO server", "PING", "GET a", "PING"]
    assert (actor.joins, door.version) == (1, "7.4.1")


async def test_what_a_lost_connection_carried_is_sent_again(actor: Actor, door: Door) -> None:
    await door.pipeline([("PING",)])
    actor.hangs_up_on = "GET"
    assert await door.pipeline([("SET", "a", 1), ("GET", "a")]) == [b"OK", b"OK"]
    assert actor.heard[2:] == ["SET a 1", "INFO server", "SET a 1", "GET a"]


@pytest.mark.parametrize(
    "error",
    [
        "READONLY You can't write against a read only replica.",
        "MOVED 1 127.0.0.1:1",
        "CLUSTERDOWN no",
        "TRYAGAIN no",
    ],
)
async def test_a_server_that_is_not_the_right_one_any_more_is_looked_for_anew(
    actor: Actor, door: Door, error: str
) -> None:
    await door.pipeline([("PING",)])
    actor.answers["SET"] = f"-{error}\r\n"
    with pytest.raises(StoreDown):
        await door.pipeline([("SET", "a", 1)])
    assert actor.joins == 2


async def test_while_the_server_is_away_callers_are_turned_away_and_one_looks(
    actor: Actor, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    await door.pipeline([("PING",)])
    await actor.end()
    with pytest.raises(StoreDown):
        await door.pipeline([("PING",)])
    await actor.begin()
    joins = actor.joins
    with pytest.raises(StoreDown):
        await door.pipeline([("PING",)])
    assert actor.joins == joins  # nobody looked
    await asyncio.sleep(redis_door.SHUT_S)
    answers = await asyncio.gather(*(door.pipeline([("PING",)]) for _ in range(20)), return_exceptions=True)
    assert [type(answer) for answer in answers].count(StoreDown) == 19
    assert actor.joins == joins + 1
    answers = await asyncio.gather(*(door.pipeline([("PING",)]) for _ in range(20)))
    assert answers == [[b"OK"]] * 20


async def test_a_server_that_hangs_is_given_up_and_then_only_one_waits_for_it(
    actor: Actor, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_door, "COMMAND_S", 0.1)
    await door.pipeline([("PING",)])
    actor.answers["PING"] = ""
    with pytest.raises(StoreDown, match="no answer"):
        await door.pipeline([("PING",)])
    await asyncio.sleep(redis_door.SHUT_S)
    heard = len(actor.heard)
    await asyncio.gather(*(door.pipeline([("PING",)]) for _ in range(20)), return_exceptions=True)
    assert actor.heard[heard:] == ["INFO server", "PING"]


async def test_a_caller_that_leaves_does_not_leave_its_answers_to_the_next(actor: Actor, door: Door) -> None:
    await door.pipeline([("PING",)])
    actor.answers["GET"] = ""
    left = asyncio.ensure_future(door.pipeline([("GET", "a")]))
    await asyncio.wait([left], timeout=0.1)
    assert actor.heard[-1] == "GET a"
    left.cancel()
    await asyncio.gather(left, return_exceptions=True)
    assert await door.pipeline([("PING",), ("SET", "a", 1)]) == [b"OK", b"OK"]


async def test_a_new_server_is_told_before_it_is_asked(actor: Actor) -> None:
    async def tell(speak: Speak) -> None:
        told.append(await speak([("TELL", at) for at in range(redis_door.TOLD + 1)]))

    told: list[Sequence[object]] = []
    door = Door(actor.url, "k", tell)
    await door.pipeline([("PING",)])
    await actor.end()
    await actor.begin()
    await door.pipeline([("PING",)])
    assert told == []  # the same server, and another connection
    await actor.end()
    actor.is_server("second")
    await actor.begin()
    actor.heard.clear()
    await asyncio.gather(*(door.pipeline([("PING",)]) for _ in range(3)))
    assert told == [[b"OK"] * (redis_door.TOLD + 1)]
    assert actor.heard[:2] == ["INFO server", "TELL 0"]
    assert actor.heard.index("PING") > actor.heard.index(f"TELL {redis_door.TOLD}")
    await door.close()


async def test_a_server_that_says_nothing_of_itself_is_taken_for_the_one_before(actor: Actor, door: Door) -> None:
    actor.answers["INFO"] = "-NOPERM this user has no permissions to run the 'info' command\r\n"
    assert await door.pipeline([("PING",)]) == [b"OK"]
    assert door.version == ""


@pytest.mark.parametrize(
    ("demand", "sent", "reached", "not_reached"),
    [
        ("aof", "WAITAOF 1 0 1000", "*2\r\n:1\r\n:0\r\n", "*2\r\n:0\r\n:0\r\n"),
        ("replicas:2", "WAIT 2 1000", ":2\r\n", ":1\r\n"),
    ],
)
async def test_a_demanded_write_is_waited_for(
    actor: Actor, door: Door, demand: str, sent: str, reached: str, not_reached: str
) -> None:
    what = wait(demand)
    assert isinstance(what, Wait)
    word = sent.split()[0]
    actor.answers[word] = reached
    assert await door.pipeline([("SET", "a", 1), ("GET", "a")], what) == [b"OK", b"OK"]
    assert actor.heard[-3:] == ["SET a 1", "GET a", sent]
    for said in (not_reached, "-ERR unknown command\r\n"):
        actor.answers[word] = said
        answers = await door.pipeline([("SET", "a", 1), ("GET", "a")], what)
        assert [isinstance(failed(answer), StoreDown) for answer in answers] == [True, True]
    actor.answers["EVALSHA"] = "-NOSCRIPT No matching script.\r\n"
    unknown, _ = await door.pipeline([("EVALSHA", "x", 0), ("SET", "a", 1)], what)
    assert unknown_script(unknown)


PING = b"*1\r\n$4\r\nPING\r\n"
SET = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n3\r\n"
IN_A_WHILE = b"*6\r\n$5\r\nXREAD\r\n$5\r\nBLOCK\r\n$3\r\n200\r\n$7\r\nSTREAMS\r\n$1\r\ns\r\n$1\r\n$\r\n"  # in ms
GET = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"


class Answers:
    """What comes of a batch that was begun."""

    def __init__(self) -> None:
        self.come = asyncio.Event()
        self.said: list[object] | None = []

    def __call__(self, of: str, said: list[object] | None) -> None:
        assert of == "of"
        self.said = said
        self.come.set()


async def begun(door: Door, commands: bytes = PING, wanted: int = 1) -> list[object] | None:
    """What a batch that can begin comes to."""
    answers = Answers()
    assert door.begin(commands, wanted, answers, "of")
    await answers.come.wait()
    return answers.said


async def test_a_batch_begins_on_a_connection_that_is_there(actor: Actor, door: Door) -> None:
    assert not door.begin(PING, 1, Answers(), "of")
    await door.pipeline([("PING",)])
    actor.answers["GET"] = "-ERR no\r\n"
    answers = await begun(door, PING + b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n" + PING, 3)
    assert answers is not None
    assert (answers[0], str(answers[1]), answers[2]) == (b"OK", "no", b"OK")
    assert actor.joins == 1
    under_way = Answers()
    assert door.begin(PING, 1, under_way, "of")
    assert not door.begin(PING, 1, Answers(), "of")  # the one connection is busy
    await under_way.come.wait()


@pytest.mark.parametrize("error", ["READONLY no", "MOVED 1 127.0.0.1:1"])
async def test_a_batch_that_met_the_wrong_server_is_for_a_pipeline(actor: Actor, door: Door, error: str) -> None:
    await door.pipeline([("PING",)])
    actor.answers["SET"] = f"-{error}\r\n"
    assert await begun(door, b"*1\r\n$3\r\nSET\r\n") is None


async def test_a_server_that_is_not_the_right_one_any_more_is_asked_nothing_more_once_a_batch_has_met_it() -> None:
    with own_server() as old, own_server() as new:
        cable = Cable(old.url)
        await cable.plug_in()
        door = Door(cable.url, "k", _nothing)
        await door.pipeline([("PING",)])
        old.do("REPLICAOF", "127.0.0.1", 1)  # read-only from here
        cable.lead_to(new.url)
        refused = Answers()
        assert door.begin(IN_A_WHILE + SET, 2, refused, "of")
        assert await door.pipeline([("SET", "a", 1)]) == [b"OK"]  # on a second connection, which is there before
        await refused.come.wait()
        assert refused.said is None
        assert await door.pipeline([("SET", "a", 2)]) == [b"OK"]
        assert await begun(door, SET) == [b"OK"]
        assert await begun(door, GET) == [b"3"]
        assert await begun(door, GET) == [b"3"]
        await asyncio.to_thread(until, lambda: old.do("INFO", "clients")["connected_clients"] == 1)  # who asks
        await door.close()
        await cable.cut()


async def test_a_batch_whose_connection_is_lost_is_for_a_pipeline_which_makes_another(actor: Actor, door: Door) -> None:
    await door.pipeline([("PING",)])
    actor.hangs_up_on = "PING"
    assert await begun(door) is None
    assert not door.begin(PING, 1, Answers(), "of")
    assert await door.pipeline([("PING",)]) == [b"OK"]
    assert await begun(door) == [b"OK"]
    assert actor.joins == 2


async def test_a_server_that_was_given_up_is_not_believed_when_a_busy_connection_to_it_answers(
    actor: Actor, door: Door
) -> None:
    await door.pipeline([("PING",)])
    actor.answers["PING"] = ""
    slow = Answers()
    assert door.begin(PING, 1, slow, "of")
    await asyncio.sleep(0)
    actor.hangs_up_on = "GET"
    assert await door.pipeline([("GET", "a")]) == [b"OK"]  # on a second connection, which is lost, and then a third
    actor.say("+LATE\r\n")
    await slow.come.wait()
    assert slow.said is None
    assert await begun(door, SET) == [b"OK"]
    assert door.begin(PING, 1, Answers(), "of")
    assert not door.begin(SET, 1, Answers(), "of")  # the third is the only one


async def test_a_batch_that_is_not_answered_in_time_is_for_a_pipeline_which_gives_the_server_up(
    actor: Actor, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_door, "COMMAND_S", 0.1)
    await door.pipeline([("PING",)])
    actor.answers["PING"] = ""
    assert await begun(door) is None
    with pytest.raises(StoreDown, match="no answer"):
        await door.pipeline([("GET", "a")])
    assert not door.begin(PING, 1, Answers(), "of")
    assert "GET a" not in actor.heard


async def test_each_batch_has_its_time_whenever_the_last_one_began(
    actor: Actor, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_door, "COMMAND_S", 0.3)
    await door.pipeline([("PING",)])
    assert await begun(door) == [b"OK"]
    await asyncio.sleep(0.15)
    actor.answers["PING"] = ""
    now_s = asyncio.get_running_loop().time()
    assert await begun(door) is None
    assert asyncio.get_running_loop().time() - now_s > 0.25
