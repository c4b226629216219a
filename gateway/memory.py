"""Signed reasoning, kept between turns for clients that do not send it back (translators/recall.py).

It is kept per team, or per key where that has none: what was signed for one owner never comes into another's requests.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gateway.ledger.store import Store, StoreDown

KEPT_S = 24 * 3600.0
MAX_BYTES = 256 * 1024  # of one item; longer reasoning is not kept
MAX_NAMES = 1000  # looked up for one request

log = logging.getLogger("headgate")


class Memory:
    """Reads and writes in the ledger's store, so that the next turn may come to another worker."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def recall(self, owner: str, names: Sequence[str]) -> Mapping[str, Any]:
        """What is kept for `owner` under `names`, those of a conversation's last MAX_NAMES. Raises StoreDown."""
        within = {_place(owner, name): name for name in names[-MAX_NAMES:]}
        found = await self._store.recall(tuple(within)) if within else {}
        return {within[place]: orjson.loads(value) for place, value in found.items()}

    async def remember(self, owner: str, items: Mapping[str, Any]) -> None:
        """Keep `items` for a day. An answer that is paid for is not withheld because this fails."""
        made = {_place(owner, name): orjson.dumps(item) for name, item in items.items()}
        kept = {place: data for place, data in made.items() if len(data) <= MAX_BYTES}
        if not kept:
            return
        try:
            await self._store.remember(kept, KEPT_S)
        except StoreDown:
            log.warning("reasoning signatures of %d tool calls or texts could not be kept", len(kept))


def _place(owner: str, name: str) -> str:
    """A digest: the name is a tool call's id, and so as long as the client likes."""
    return hashlib.blake2b(orjson.dumps([owner, name]), digest_size=24).hexdigest()
