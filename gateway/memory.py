"""Signed reasoning, kept between turns for clients that do not send it back (translators/recall.py).

It is kept per team, or per key where that has none: what was signed for one owner never comes into another's requests.
"""

import hashlib
import logging
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.ledger.store import Store, StoreDown

KEPT_S = 24 * 3600.0
MAX_BYTES = 256 * 1024  # of one item; longer reasoning is not kept
MAX_NAMES = 1000  # looked up for one request
MAX_RECALLED_BYTES = 4 * 1024 * 1024

log = logging.getLogger("headgate")


class Memory:
    """Reads and writes in the ledger's store, so that the next turn may come to another worker."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def recall(self, owner: str, wanted: Mapping[str, str]) -> tuple[Mapping[str, Any], int]:
        """What is kept for `owner` under these names and anchors, the latest MAX_RECALLED_BYTES of it, and its bytes.

        Raises StoreDown.
        """
        latest = list(wanted.items())[-MAX_NAMES:]
        places = {_place(owner, anchor, name): name for name, anchor in latest}
        found = await self._store.recall(tuple(places)) if places else {}
        size, items = 0, dict[str, Any]()
        for place, name in reversed(places.items()):
            if place in found and size + len(found[place]) <= MAX_RECALLED_BYTES:
                size += len(found[place])
                items[name] = orjson.loads(found[place])
        return items, size

    async def remember(self, owner: str, anchor: str, items: Mapping[str, Any]) -> None:
        """Keep `items` for a day. An answer that is paid for is not withheld because this fails."""
        kept: dict[str, bytes] = {}
        for name, item in items.items():
            try:
                data = orjson.dumps(item)
            except orjson.JSONEncodeError:  # nested deeper than 254 levels
                continue
            if len(data) <= MAX_BYTES:
                kept[_place(owner, anchor, name)] = data
        if not kept:
            return
        try:
            await self._store.remember(kept, KEPT_S)
        except StoreDown:
            log.warning("reasoning signatures of %d tool calls or texts could not be kept", len(kept))


def _place(owner: str, anchor: str, name: str) -> str:
    """A digest: the name is a tool call's id, and so as long as the client likes."""
    return hashlib.blake2b(orjson.dumps([owner, anchor, name]), digest_size=24).hexdigest()
