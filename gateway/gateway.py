"""What the endpoints need, in one frozen value: made in `lifespan`, handed over in the request's state."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.config import Config
from gateway.credentials.kinds import Credentials
from gateway.fetch import Fetcher
from gateway.keys import Keys
from gateway.ledger.hold import Ledger
from gateway.ledger.store import Store
from gateway.memory import Memory
from gateway.payers import Payers
from gateway.upstream import Upstream
from gateway.usual import Usual


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
