"""The connections to one origin: in turn, never too many, the warmest first."""

import asyncio

import pytest

from gateway.connection import Connection, Tick
from gateway.origin import Connections, Origin
from gateway.proxies import Proxy
from tests.gateway.test_connection import OK, Wire
from translators.errors import LLMError

HERE = Origin(True, "api.test", 443, None)


@pytest.mark.parametrize(
    ("origin", "authority"),
    [
        (HERE, "api.test"),
        (HERE._replace(port=8443), "api.test:8443"),
        (HERE._replace(tls=False), "api.test:443"),
        (Origin(False, "::1", 80, None), "[::1]"),
        (Origin(False, "::1", 8000, Proxy(False, "proxy.test", 3128, "")), "[::1]:8000"),
    ],
)
def test_a_host_is_named_with_the_port_that_its_scheme_does_not_imply(origin: Origin, authority: str) -> None:
    assert origin.authority == authority


def test_who_waits_is_served_in_turn_and_who_left_is_passed_over() -> None:
    async def work() -> list[str]:
        place, served = Connections(HERE, 1, Tick()), []

        async def caller(name: str) -> None:
            await place.turn()
            served.append(name)

        assert place.admitted() and not place.admitted()
        callers = {name: asyncio.ensure_future(caller(name)) for name in "abcd"}
        await asyncio.sleep(0)
        callers["b"].cancel()
        for _ in range(3):
            place.leave()
            await asyncio.sleep(0)
        assert not place.admitted()
        place.leave()
        assert place.admitted()
        return served

    assert asyncio.run(work()) == ["a", "c", "d"]


def test_a_place_that_comes_as_its_caller_goes_is_the_next_ones() -> None:
    async def work() -> None:
        place = Connections(HERE, 1, Tick())
        assert place.admitted()
        first, second = asyncio.ensure_future(place.turn()), asyncio.ensure_future(place.turn())
        await asyncio.sleep(0)
        place.leave()
        first.cancel()
        await asyncio.wait_for(second, 1)
        assert first.cancelled()

    asyncio.run(work())


def test_who_leaves_as_another_does_is_passed_over() -> None:
    async def work() -> bool:
        place = Connections(HERE, 1, Tick())
        assert place.admitted()
        waiting = asyncio.ensure_future(place.turn())
        await asyncio.sleep(0)
        waiting.cancel()
        place.leave()  # before it is resumed
        await asyncio.wait([waiting])
        return waiting.cancelled() and place.admitted()

    assert asyncio.run(work())


def made(place: Connections) -> tuple[Connection, Wire]:
    assert place.admitted()
    connection, wire = Connection(place), Wire()
    connection.connection_made(wire)
    place.begun(connection)
    return connection, wire


async def used(connection: Connection, answer: bytes) -> None:
    asyncio.get_running_loop().call_soon(connection.data_received, answer)
    try:
        await connection.exchange(b"", b"", 5, lambda _: None)
    except LLMError:
        pass
    finally:
        connection.release()


def test_the_warmest_that_still_works_is_taken_first() -> None:
    async def work() -> None:
        place = Connections(HERE, 9, Tick())
        (first, _), (second, its_wire), (third, _) = (made(place) for _ in range(3))
        for connection in (first, second, third):
            await used(connection, OK)
        place.lost(third)
        its_wire.closing = True
        assert place.warmest() is first
        assert place.warmest() is None

    asyncio.run(work())


def test_one_that_failed_is_not_kept_and_all_are_cut_in_the_end() -> None:
    async def work() -> None:
        place = Connections(HERE, 3, Tick())
        (failed, failed_wire), (idle, idle_wire), (_, busy_wire) = (made(place) for _ in range(3))
        await used(failed, b"no HTTP")
        await used(idle, OK)
        assert failed_wire.closing and not idle_wire.closing
        place.close()
        assert idle_wire.closing and busy_wire.closing
        assert place.warmest() is None
        assert place.admitted() and place.admitted() and not place.admitted()  # the places of the first two

    asyncio.run(work())
