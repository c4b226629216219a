"""What the endpoints need, in one frozen value: made in `lifespan`, handed over in the request's state."""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.config import Config
from gateway.credentials.kinds import Credentials
from gateway.deadlines import Deadlines
from gateway.fetch import Fetcher
from gateway.keys import Keys
from gateway.ledger.hold import Ledger
from gateway.ledger.store import Store
from gateway.memory import Memory
from gateway.payers import Payers
from gateway.upstream import Upstream
from gateway.usual import Usual

IDS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Gateway:
    """One worker's parts."""

    config: Config
    store: Store
    ledger: Ledger
    keys: Keys
    payers: Payers
    memory: Memory
    usual: Usual
    upstream: Upstream
    fetcher: Fetcher
    credentials: Mapping[str, Credentials]  # by provider, of those that need more than a key
    admin_digest: str  # of the admin key
    clock: Callable[[], float]  # Unix seconds
    loop: asyncio.AbstractEventLoop  # to ask asyncio for it is a system call each time
    deadlines: Deadlines
    ids: Iterator[str]
    running: set[asyncio.Task[Any]]  # the chat requests


def request_ids() -> Iterator[str]:
    """128 random bits each, in hex. The system is asked once for many: a call takes longer than all else here."""
    while True:
        bits = os.urandom(16 * IDS_AT_ONCE).hex()
        for at in range(0, len(bits), 32):
            yield bits[at : at + 32]
