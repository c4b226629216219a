"""The bearer token → a virtual key. Tokens are looked up by their hash; found ones are cached for a moment.

The cache may be stale because every reserve checks the key's and the team's version in the store: what an admin changes
or revokes holds at once, on every worker. Where nothing is reserved, ask for a `fresh` look. A key that is about to be
refused by the cache is looked up again, once a second: it may have been extended, or allowed another model.
"""

import hashlib
import time
from collections.abc import Mapping
from math import inf

from gateway.bounded import keep
from gateway.ledger.store import Holder, Record, Store, StoreDown
from translators.errors import LLMError

CACHE_S = 30.0
REFUSED_S = 1.0  # between looks at a key that is refused
MAX_CACHED = 10_000
# where the SDKs of OpenAI, Anthropic, Azure and Google put a key
_HEADERS = (b"x-api-key", b"api-key", b"x-goog-api-key")
_DIGEST = "key's digest"


def digest(token: str) -> str:
    """The only form in which a token is stored. Tokens are long and random, so a plain hash is enough."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def token_in(headers: Mapping[bytes, bytes]) -> str | None:
    """The token that a request came with, or None."""
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer" and (token := token.strip()):
        return token.decode("latin-1")
    for name in _HEADERS:
        if value := headers.get(name):
            return value.strip().decode("latin-1")
    return None


class Keys:
    """Finds the holder of a token."""

    def __init__(self, store: Store, offline_key_s: float) -> None:
        self._store = store
        self._offline_key_s = offline_key_s  # for how long a key is believed in while the store is away
        self._cached: dict[str, tuple[float, Holder, float]] = {}  # until when by our clock, whom, good until when

    def at_hand(self, memo: Mapping[str, str]) -> Holder | None:
        """Whom an earlier request with this memo was from, while that surely holds; else None: ask `holder`."""
        until, holder, good_until_s = self._cached.get(memo.get(_DIGEST, ""), (0.0, None, 0.0))
        return holder if until >= time.monotonic() and time.time() < good_until_s else None

    async def holder(
        self,
        headers: Mapping[bytes, bytes],
        *,
        fresh: bool = False,
        doubted: bool = False,
        memo: dict[str, str] | None = None,
    ) -> Holder:
        """Whom the request is from. Raises LLMError("authentication") for no, a wrong, an expired or a revoked key.

        `doubted`: it is about to be refused what an admin may have allowed meanwhile.
        `memo`: where to leave what `at_hand` needs for requests with the same headers.
        """
        token = token_in(headers)
        if token is None:
            raise LLMError(
                "authentication", "No API key: send yours as `Authorization: Bearer sk-…`", code="missing_api_key"
            )
        name = digest(token)
        if memo is not None:
            memo[_DIGEST] = name
        until, holder, good_until_s = self._cached.get(name, (0.0, None, 0.0))
        if holder is None or fresh or until < time.monotonic():
            return await self._looked_up(token, name, fresh=fresh)
        over = time.time() >= good_until_s
        ended = (holder.token_expires or inf) <= time.time()  # which is for good: all else an admin can put off
        if (over or doubted) and not ended and until - CACHE_S + REFUSED_S < time.monotonic():
            return await self._looked_up(token, name)
        if over:
            _check(holder)
        return holder

    async def _looked_up(self, token: str, name: str, *, fresh: bool = False) -> Holder:
        """As the store knows it, or, while that is away and unless it must be `fresh`, as it was known."""
        until, known, _ = self._cached.get(name, (0.0, None, 0.0))
        try:
            holder = await self._store.holder(name)
        except StoreDown:
            believed_s = max(CACHE_S, self._offline_key_s)
            if known is None or fresh or until - CACHE_S + believed_s < time.monotonic():
                raise
            holder = known
        else:
            if holder is None:
                self._cached.pop(name, None)
                raise LLMError("authentication", f"The API key {masked(token)} is not known here")
            keep(self._cached, name, (time.monotonic() + CACHE_S, holder, _good_until_s(holder)), MAX_CACHED)
        _check(holder)
        return holder


def _good_until_s(holder: Holder) -> float:
    """Unix seconds, up to which nothing of it expires; 0 where something was revoked."""
    if any(record.revoked for record in holder.records):
        return 0.0
    ends = [*(record.expires for record in holder.records), holder.token_expires]
    return min([end for end in ends if end is not None], default=inf)


def _check(holder: Holder) -> None:
    now = time.time()
    for record in holder.records:
        if record.revoked:
            raise refused(record, "revoked")
        if record.expires is not None and record.expires <= now:
            raise refused(record, "expired")
    if holder.token_expires is not None and holder.token_expires <= now:
        raise LLMError("authentication", "This API key was rotated and its grace period is over", code="key_rotated")


def refused(record: Record, why: str) -> LLMError:
    """The 401 for a key that was once good."""
    what = "API key" if record.kind == "key" else "team of this API key"
    return LLMError("authentication", f"The {what} is {why}", code=f"key_{why}")


def masked(token: str) -> str:
    """Enough of a token to recognise it by, and no more."""
    return f"{token[:5]}…{token[-2:]}" if len(token) > 12 else "given"
