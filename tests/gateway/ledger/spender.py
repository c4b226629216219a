"""A process of its own that spends from a store: `python -m tests.gateway.ledger.spender WHAT NAME URL PATH PREFIX`.

`hold` asks for a hundred holds at once and prints how much it got in all. `settle` settles one request after another
and prints the id of each once the store has acknowledged it, until it is killed.
"""

import asyncio
import sys

from gateway.ledger.store import Granted, Store
from tests.gateway.ledger.conftest import Place
from tests.gateway.ledger.requests import ask, bill, cap

CAP = cap(10_000)


async def main(what: str, name: str, place: Place) -> None:
    store = place.store()
    await store.open()
    await (_hold(store, name) if what == "hold" else _settle(store, name))
    await store.close()


async def _hold(store: Store, name: str) -> None:
    answers = await asyncio.gather(*(store.reserve(ask(f"{name}{at}", CAP, most=90, usual=90)) for at in range(100)))
    print(sum(answer.nanousd for answer in answers if isinstance(answer, Granted)), flush=True)


async def _settle(store: Store, name: str) -> None:
    at = 0
    while True:
        at += 1
        await store.reserve(ask(f"{name}{at}", cap(None)))
        await store.settle(bill(f"{name}{at}", at, cap(None)))
        print(f"{name}{at}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Place(*sys.argv[3:])))
