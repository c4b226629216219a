"""Signed reasoning, kept between turns for clients that do not send it back (translators/recall.py)."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gateway.ledger.store import Store, StoreDown

KEPT_S = 24 * 3600.0
MAX_BYTES = 256 * 1024  # of one item; longer reasoning is not kept

log = logging.getLogger("headgate")


class Memory:
    """Reads and writes in the ledger's store, so that the next turn may come to another worker."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def recall(self, names: Sequence[str]) -> Mapping[str, Any]:
        """What is kept under `names`. Raises StoreDown."""
        found = await self._store.recall(names) if names else {}
        return {name: orjson.loads(value) for name, value in found.items()}

    async def remember(self, items: Mapping[str, Any]) -> None:
        """Keep `items` for a day. An answer that is paid for is not withheld because this fails."""
        kept = {name: data for name, item in items.items() if len(data := orjson.dumps(item)) <= MAX_BYTES}
        if not kept:
            return
        try:
            await self._store.remember(kept, KEPT_S)
        except StoreDown:
            log.warning("reasoning signatures of %d tool calls or texts could not be kept", len(kept))
