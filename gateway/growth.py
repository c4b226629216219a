"""A stream's hold, raised ahead of what is generated, so that a small cap serves callers who name no limit.

How many tokens a provider has generated is known only at the end; that they are at most as many as the bytes of text
that came, and what may come before a cancellation takes effect, is known at all times. So this is for what can be seen
as it comes: not for several choices at once, nor for a model that reasons behind the curtain.
"""

import asyncio
import time
from collections.abc import Sequence

from gateway.ceilings import Quote, asked_length
from gateway.ledger.hold import Hold, Ledger, Reread
from gateway.ledger.store import Granted, StoreDown
from gateway.usual import Usual
from translators.errors import LLMError
from translators.exchange import Json

LEAST_AHEAD = 64  # tokens that may be generated unseen before a cancellation takes effect, at the least
MOST_AHEAD = 4096
AHEAD_S = 0.25  # for a step of the hold and a cancellation, at the stream's own speed
STEP = 256  # tokens
STORE_S = 0.25  # for the store to answer within a stream


def can_grow(chat: Json, quotes: Sequence[Quote], usual: Usual) -> bool:
    """Whether the hold of this request may begin with what is usual and grow: see above."""
    if not chat.get("stream") or asked_length(chat) is not None or (chat.get("n") or 1) > 1:
        return False
    if not usual.seen(chat["model"]):
        return False
    return all(_in_sight(chat, quote) for quote in quotes)


def _in_sight(chat: Json, quote: Quote) -> bool:
    facts = quote.target.endpoint.facts
    silent = facts.thinking == "none" or (chat.get("reasoning_effort") == "none" and not facts.thinking_always)
    extras = quote.extras
    return silent and not (extras.special or extras.searches or extras.map_searches or quote.predicted_tokens)


class Growing:
    """One stream's hold as it grows. `quote` is of the target that answers, `longest` what it was told to keep to."""

    def __init__(
        self,
        ledger: Ledger,
        hold: Hold,
        reread: Reread,
        quote: Quote,
        longest: int | None,
        owed_nanousd: int,
        bytes_per_token: float,
    ) -> None:
        self._ledger = ledger
        self._hold = hold
        self._reread = reread
        self._quote = quote
        self._longest = min(longest or quote.output_tokens, quote.output_tokens)
        self._owed = owed_nanousd  # of the hold, for attempts before this one
        # beyond this it has probably forgotten its limit: not every host heeds it
        self._most_bytes = round(self._longest * bytes_per_token)
        self._began = time.perf_counter()
        self._covered = quote.length(hold.nanousd - owed_nanousd)
        self._due = 0
        self._rest(0)

    def due(self, output_bytes: int) -> bool:
        """Whether the hold must be looked at, now that so much has come."""
        return output_bytes >= self._due

    async def room(self, output_bytes: int) -> bool:
        """Whether the hold covers what can still come, raised if need be; if not, the stream must end."""
        if output_bytes >= self._most_bytes:
            return False
        ahead = self._ahead(output_bytes)
        wanted = min(self._longest, output_bytes + 2 * ahead + STEP)
        needed = min(self._longest, output_bytes + ahead)
        if self._covered < wanted:
            await self._grow(needed, wanted)
        if self._covered >= wanted:
            self._rest(ahead)
        else:  # little is free now: ask again soon
            self._due = output_bytes + max(16, ahead // 4)
        return self._covered >= needed

    def _rest(self, ahead: int) -> None:
        """Until what is covered is nearly used up; where nothing longer may come, until it comes all the same."""
        ahead = max(ahead, LEAST_AHEAD)
        whole = self._covered >= self._longest
        self._due = self._most_bytes if whole else max(0, self._covered - 2 * ahead)

    def _ahead(self, output_bytes: int) -> int:
        speed = output_bytes / max(0.05, time.perf_counter() - self._began)
        return min(MOST_AHEAD, max(LEAST_AHEAD, round(AHEAD_S * speed)))

    async def _grow(self, needed: int, wanted: int) -> None:
        """As far as `wanted` tokens if that can be had, at least as far as `needed`, or not at all."""
        has = self._hold.nanousd - self._owed
        more, least = self._quote.nanousd(wanted) - has, max(1, self._quote.nanousd(needed) - has)
        try:
            async with asyncio.timeout(STORE_S):
                answer = await self._ledger.grow(self._hold, min(least, more), more, self._reread)
        except (TimeoutError, StoreDown, LLMError):  # LLMError: the key is gone
            return
        if isinstance(answer, Granted):
            self._covered = self._quote.length(self._hold.nanousd - self._owed)
