"""A stream's hold, raised ahead of what is generated, so that a small cap serves callers who name no limit.

How many tokens a provider has generated is known only at the end; that they are at most as many as the bytes of text
that came, and what may come before a cancellation takes effect, is known at all times. So this is for what can be seen
as it comes: not for several choices at once, nor for a model that reasons behind the curtain.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Literal

from gateway.ceilings import Quote, asked_length, in_sight
from gateway.ledger.hold import Hold, Ledger, Reread
from gateway.ledger.store import Granted, Refused, StoreDown
from gateway.prices.pricing import UNLIMITED_TOKENS
from gateway.usual import LEAST_AHEAD, Usual
from translators.errors import LLMError
from translators.exchange import Json

MOST_AHEAD = 4096  # tokens, as LEAST_AHEAD
AHEAD_S = 0.25  # for a step of the hold and a cancellation, at the stream's own speed
STEP = 256  # tokens
NEAR = 16  # tokens around a limit, by estimate: from so many before it a provider is watched, so many behind are let go
FORGETFUL = 2  # times the caller's own limit, by estimate: a provider that has said so much does not heed it
EndedBy = Literal["budget", "ledger_unavailable", "key_gone", "slow_client"]
STORE_S = 0.25  # for the store to answer within a stream


def can_grow(chat: Json, quotes: Sequence[Quote], usual: Usual) -> bool:
    """Whether the hold of this request may begin with what is usual and grow: see above."""
    if not chat.get("stream") or asked_length(chat) is not None or (chat.get("n") or 1) > 1:
        return False
    if not usual.seen(chat["model"]):
        return False
    return all(in_sight(chat, quote) for quote in quotes)


class Growing:
    """One stream's hold as it grows. `quote` is of the target that answers, `told` the limit that it was sent.

    `seen`: what is generated is seen as it comes, and the hold grows ahead of it, up to the limit if there is one.
    Otherwise the provider is believed to keep to its limit, which the hold covers, until it evidently does not. Either
    way `room` is to be asked for once `due_bytes` of output have come.
    """

    def __init__(
        self,
        ledger: Ledger,
        hold: Hold,
        reread: Reread,
        quote: Quote,
        told: int | None,
        owed_nanousd: int,
        bytes_per_token: float,
        *,
        seen: bool,
    ) -> None:
        self.seen = seen
        self.ended_by: EndedBy = "budget"
        self._ledger = ledger
        self._hold = hold
        self._reread = reread
        self._quote = quote
        bounded = quote.said or told is not None  # else it may go on for as long as the hold can be raised
        self._longest = min(told or quote.output_tokens, quote.output_tokens) if bounded else UNLIMITED_TOKENS
        self._owed = owed_nanousd  # of the hold, for attempts before this one
        self._bytes_per_token = bytes_per_token
        # beyond this it has probably forgotten its limit
        self._most_bytes = round((self._longest + NEAR) * bytes_per_token)
        self._tolerated = FORGETFUL * self._longest if quote.said and told is None else 0
        self._began = time.perf_counter()
        self._covered = quote.length(hold.nanousd - owed_nanousd)
        self.due_bytes = self._next_due(0) if seen else round((self._longest - NEAR) * bytes_per_token)

    async def room(self, output_bytes: int) -> bool:
        """Whether the hold covers what can still come, raised if need be; if not, the stream ends, by `ended_by`."""
        return await (self._ahead_of(output_bytes) if self.seen else self._after(output_bytes))

    async def _ahead_of(self, output_bytes: int) -> bool:
        if output_bytes > self._most_bytes:
            self.ended_by = "budget"
            return False
        ahead = self._ahead(output_bytes)
        wanted = min(self._longest, output_bytes + 2 * ahead + STEP)
        needed = min(self._longest, output_bytes + ahead)
        if self._covered < wanted:
            await self._grow(needed, wanted)
        # where little is free now, ask again soon
        self.due_bytes = self._next_due(ahead) if self._covered >= wanted else output_bytes + max(16, ahead // 4)
        return self._covered >= needed

    async def _after(self, output_bytes: int) -> bool:
        tokens = round(output_bytes / self._bytes_per_token)
        await self._grow(tokens, tokens + STEP)
        self.due_bytes = output_bytes + round(NEAR * self._bytes_per_token)
        return tokens - NEAR <= max(self._covered, self._tolerated)

    def _next_due(self, ahead: int) -> int:
        """When what is covered will be nearly used up; where nothing longer may come, when it comes all the same."""
        whole = self._covered >= self._longest
        return self._most_bytes if whole else max(0, self._covered - 2 * max(ahead, LEAST_AHEAD))

    def _ahead(self, output_bytes: int) -> int:
        speed = output_bytes / max(0.05, time.perf_counter() - self._began)
        return min(MOST_AHEAD, max(LEAST_AHEAD, round(AHEAD_S * speed)))

    async def _grow(self, needed: int, wanted: int) -> None:
        """As far as `wanted` tokens if that can be had, at least as far as `needed`, or not at all."""
        has = self._hold.nanousd - self._owed
        more, least = self._quote.nanousd(wanted) - has, max(1, self._quote.nanousd(needed) - has)
        if more <= 0:
            return
        try:
            async with asyncio.timeout(STORE_S):
                answer = await self._ledger.grow(self._hold, min(least, more), more, self._reread)
        except (TimeoutError, StoreDown):
            self.ended_by = "ledger_unavailable"
            return
        except LLMError:
            self.ended_by = "key_gone"
            return
        self.ended_by = "key_gone" if isinstance(answer, Refused) and answer.reason == "gone" else "budget"
        if isinstance(answer, Granted):
            self._covered = self._quote.length(self._hold.nanousd - self._owed)
