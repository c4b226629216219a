"""A TCP proxy that loses answers: `python -m tests.chaos.cutter PORT TARGET_PORT SEED`.

Lines on its standard input say how often: `0.3` has 30 of 100 requests forwarded, carried out, and their connection cut
before the answer; `0` lets everything through.
"""

import asyncio
import random
import sys
from functools import partial


class Odds:
    """How many answers in one are lost at present."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.share = 0.0

    def hit(self) -> bool:
        return self._random.random() < self.share


async def _pass_on(odds: Odds, target: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        there, back = await asyncio.open_connection("127.0.0.1", target)
    except OSError:
        writer.transport.abort()
        return
    doomed = asyncio.Event()
    requests = asyncio.ensure_future(_requests(odds, doomed, reader, back))
    answers = asyncio.ensure_future(_answers(doomed, there, writer))
    await asyncio.wait((requests, answers), return_when=asyncio.FIRST_COMPLETED)
    for task in (requests, answers):
        task.cancel()
    await asyncio.gather(requests, answers, return_exceptions=True)
    writer.transport.abort()
    back.transport.abort()


async def _requests(
    odds: Odds, doomed: asyncio.Event, reader: asyncio.StreamReader, back: asyncio.StreamWriter
) -> None:
    while data := await reader.read(1 << 16):
        if odds.hit():
            doomed.set()
        back.write(data)
        await back.drain()


async def _answers(doomed: asyncio.Event, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await there.read(1 << 16):
        if doomed.is_set():
            return
        writer.write(data)
        await writer.drain()


async def serve(port: int, target: int, seed: int) -> None:
    """Until the standard input ends."""
    odds = Odds(seed)
    server = await asyncio.start_server(partial(_pass_on, odds, target), "127.0.0.1", port, backlog=1024)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    async with server:
        while line := await commands.readline():
            odds.share = float(line)


if __name__ == "__main__":
    asyncio.run(serve(*map(int, sys.argv[1:4])))
