"""The way to Redis: pipelines over a few connections, and what becomes of them when the server is lost.

A connection that breaks is made once more and the pipeline sent again. After a failure callers are turned away for a
moment, and then one of them looks whether the server is back. A server that is another one (restarted, failed over) is
told what it may have forgotten before it is asked anything.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from gateway.ledger.redis_place import Command, Failure, Line, Lost, address, place
from gateway.ledger.store import StoreDown

COMMAND_S = 2.0  # for a pipeline's answers
SHUT_S = 0.25  # after a failure, until somebody looks again
TOLD_S = 10.0  # for all that a new server is told
TOLD = 500  # commands of it at once

Speak = Callable[[Sequence[Command]], Awaitable[Sequence[Any]]]
Done = Callable[[Any, list[Any] | None], None]


class Wait(NamedTuple):
    """What a write must have reached before it is acknowledged."""

    command: Command
    least: int  # of the first number that it answers
    what: str


class Door:
    """Sends pipelines to the server at `url`. `tell` is called with a way to speak to a server that is a new one."""

    def __init__(self, url: str, key: str, tell: Callable[[Speak], Awaitable[None]]) -> None:
        """`key`: any of ours, which says where a cluster keeps them. Raises ValueError when `url` is none."""
        self.address = address(url)
        self.version = ""  # the server's, once there is a connection
        self._place = place(self.address, key)
        self._tell = tell
        self._idle: list[Line] = []
        self._age = 0  # how often all lines were given up: one that was busy then must not come back, nor be believed
        self._server: str | None = None  # its run id
        self._greeting = asyncio.Lock()
        self._shut_until: float | None = None  # loop time, while the server is known to be away
        self._why = ""
        self._probing = False

    async def pipeline(self, commands: Sequence[Command], wait: Wait | None = None) -> Sequence[Any]:
        """Each command's answer, or a Failure in its place; all in order, on one connection.

        Sent again after a lost connection, so each must be harmless to do twice. Where the writes have not reached what
        `wait` demands, StoreDown is in the answers' place. Raises StoreDown when the server does not answer in time.
        """
        if not commands:
            return ()
        probing = self._may_go()
        try:
            try:
                answers = await self._sent(commands, wait)
            except Lost as lost:
                if not lost.again:
                    raise
                await self._forget()
                answers = await self._sent(commands, wait)
        except Lost as error:
            await self._forget()
            self._why = f"Redis: {error}"
            self._shut_until = asyncio.get_running_loop().time() + SHUT_S
            raise StoreDown(self._why) from error
        finally:
            if probing:
                self._probing = False
        self._shut_until = None
        if wait is not None and _reached(answers.pop()) < wait.least:
            unsafe = StoreDown(f"Redis: the write has not reached {wait.what} in time")
            return [answer if unknown_script(answer) else unsafe for answer in answers]
        return answers

    def begin(self, commands: bytes, wanted: int, done: Done, of: Any) -> bool:
        """Send so many commands, as `pipeline` does, without a task; False, and nothing is sent, where that cannot be.

        `done` is called with `of`, and each one's answer or a Failure in its place; with None where it takes a
        `pipeline`.
        """
        idle = self._idle
        if self._shut_until is not None or not idle or idle[-1].over is not None:
            return False
        line = idle.pop()
        line.since = line.loop.time()
        if line.watch is None:
            line.watch = line.loop.call_later(COMMAND_S, _watch, line)
        line.begin(commands, wanted, self._done, (done, of))
        return True

    def _done(self, line: Line, asked: tuple[Done, Any], outcome: list[Any] | Lost) -> None:
        line.since = None
        if line.failed and not isinstance(outcome, Lost) and any(map(_elsewhere, outcome)):
            outcome = line.over = Lost("another server is the one now", again=True)  # its reads are stale
        done, of = asked
        if line.age != self._age:
            line.abort()
            done(of, None)
            return
        self._idle.insert(0 if line.over is None else len(self._idle), line)  # a pipeline meets what is over, and first
        done(of, None if isinstance(outcome, Lost) else outcome)

    async def close(self) -> None:
        await self._forget()
        await self._place.close()

    def _may_go(self) -> bool:
        """Whether the caller is the one that looks if the server is back."""
        if self._shut_until is None:
            return False
        if self._probing or asyncio.get_running_loop().time() < self._shut_until:
            raise StoreDown(self._why)
        self._probing = True
        return True

    async def _sent(self, commands: Sequence[Command], wait: Wait | None) -> list[Any]:
        line = self._idle.pop() if self._idle else await self._connected()
        try:
            async with asyncio.timeout(COMMAND_S):
                answers = await line.exchange([*commands, wait.command] if wait else commands)
            for answer in answers:
                if _elsewhere(answer):
                    raise Lost(str(answer), again=True)
        except BaseException as error:  # half an exchange is no use to the next; cancelled or not, the error goes on
            await line.close()
            if isinstance(error, TimeoutError):
                raise _silent() from error
            raise
        if line.age != self._age:
            await line.close()
            return await self._sent(commands, wait)
        self._idle.insert(0, line)
        return answers

    async def _connected(self) -> Line:
        age = self._age
        line = await self._place.connect()
        line.age = age
        try:
            await self._greet(line)
        except BaseException as error:  # the same
            await line.close()
            if isinstance(error, TimeoutError):
                raise Lost("a new server did not take in time what it was told") from error
            raise
        return line

    async def _greet(self, line: Line) -> None:
        """Learn which server this is, and tell it what it may have forgotten if it is not the one before."""

        async def speak(commands: Sequence[Command]) -> Sequence[Any]:
            answers: list[Any] = []
            for at in range(0, len(commands), TOLD):
                async with asyncio.timeout(COMMAND_S):
                    answers += await line.exchange(commands[at : at + TOLD])
            return answers

        async with self._greeting, asyncio.timeout(TOLD_S):
            (said,) = await speak([("INFO", "server")])
            if isinstance(said, Failure) and said.forbidden:  # then any server is taken for the one before
                return
            if isinstance(said, Failure):
                raise Lost(str(said))
            about = _about(said)
            if self._server not in (None, about["run_id"]):
                await self._tell(speak)
            self._server, self.version = about["run_id"], about["redis_version"]

    async def _forget(self) -> None:
        self._age += 1
        idle, self._idle = self._idle, []
        for line in idle:
            await line.close()


def failed(answer: Any) -> StoreDown | None:
    """The error in an answer's place, if it is one."""
    if isinstance(answer, Failure):
        return StoreDown(f"Redis: {answer}")
    return answer if isinstance(answer, StoreDown) else None


def unknown_script(answer: Any) -> bool:
    return isinstance(answer, Failure) and answer.unknown_script


def _elsewhere(answer: Any) -> bool:
    return isinstance(answer, Failure) and answer.elsewhere


def _watch(line: Line) -> None:
    """Ends a line on which something was begun COMMAND_S ago; one look in all that time is enough."""
    line.watch = None
    if line.since is None or line.over is not None:
        return
    left_s = line.since + COMMAND_S - line.loop.time()
    if left_s > 0:
        line.watch = line.loop.call_later(left_s, _watch, line)
    else:
        line.end(_silent())


def _silent() -> Lost:
    return Lost(f"no answer within {COMMAND_S:g} s")


def _reached(answer: Any) -> int:
    if isinstance(answer, Failure):
        return -1
    return int(answer[0] if isinstance(answer, list) else answer)


def _about(info: bytes) -> dict[str, str]:
    pairs = [line.split(":", 1) for line in info.decode().splitlines() if ":" in line]
    return {"run_id": "", "redis_version": ""} | dict(pairs)
