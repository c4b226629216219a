"""The rules of the ledger: how much fits, and when what does not will. Pure: both stores apply them in one atomic step.

SQLite runs these functions inside its transaction; the Lua scripts mirror them line by line.
"""

from collections.abc import Mapping, Sequence
from math import floor

from gateway.ledger.store import MAX_TOKENS, Ask, Counter, Granted, Growth, Level, Measure, Meter, Refused

SHARE = 8  # a request whose length is not known takes at most this part of what is free
BUCKETS = 60  # of a sliding window; one more counts, so that never more than the limit falls into any whole window
MOST_SUM = 2**62  # nano-USD
PAUSE_S = 3.0  # without a reap, while there are holds: the store may have stood still, and leases with it
BUCKET_S: Mapping[Measure, int] = {"rpm": 1, "tpm": 1, "rpd": 1440, "tpd": 1440}  # seconds; a minute, a day


def grant(ask: Ask, balances: Sequence[tuple[int, int]]) -> Granted | Refused:
    """How much of `ask` its caps let it hold.

    `balances` holds (spent, held) per counter of the ask. Every uncapped counter fits everything, and what costs
    nothing fits everywhere. A cap with `refuse` takes the ceiling or nothing. Otherwise a request takes its ceiling if
    it fits and it says `whole`, or where nobody else holds anything and half is left for others; else what is usual or
    an eighth of what is free, whichever is more, so that many can run on a small cap at once. Where others hold that, a
    patient one would rather wait, and an impatient one is content with whatever is of use.
    """
    spent_out = tightest = None
    afford = free = 0
    strict, alone, most = False, True, ask.most_nanousd
    for counter, (spent, held) in zip(ask.counters, balances, strict=True):
        if counter.cap_nanousd is None:
            continue
        left = counter.cap_nanousd - spent
        if spent_out is None or left < afford or (left == afford and counter.name < spent_out.name):
            afford, spent_out = left, counter
        left -= held
        if tightest is None or left < free or (left == free and counter.name < tightest.name):
            free, tightest = left, counter
        if counter.on_cap == "refuse":
            strict = True
        if held:
            alone = False
    if spent_out is None or tightest is None:
        return Granted(most)
    if most <= 0:
        return Granted(most, afford)
    if afford < (most if strict else ask.least_nanousd) or afford <= 0:
        return Refused("over_budget", spent_out.name, left_nanousd=afford)
    if free >= most and (strict or ask.whole or (alone and most <= free // 2)):
        return Granted(most, afford)
    want = most if strict else min(most, max(ask.usual_nanousd, free // SHARE, 1))
    if free >= want:
        return Granted(want, afford)
    if strict or free < ask.least_nanousd or free <= 0 or (ask.patient and free < afford):
        return Refused("held", tightest.name)
    return Granted(free, afford)


def grow(growth: Growth, balances: Sequence[tuple[int, int]]) -> Granted | Refused:
    """What a hold of `held_nanousd` becomes: more by what is asked for, or by what is free if that is of use.

    `balances` holds (spent, held) per counter, this hold included in `held`.
    """
    left = [
        (counter.cap_nanousd - spent, held, counter.name)
        for counter, (spent, held) in zip(growth.counters, balances, strict=True)
        if counter.cap_nanousd is not None
    ]
    if not left:
        return Granted(growth.held_nanousd + growth.more_nanousd)
    afford, spent_out = min((unspent, name) for unspent, _, name in left)
    free, tightest = min((unspent - held, name) for unspent, held, name in left)
    if afford - growth.held_nanousd < growth.least_nanousd:
        return Refused("over_budget", spent_out)
    if free < growth.least_nanousd:
        return Refused("held", tightest)
    return Granted(growth.held_nanousd + min(growth.more_nanousd, free), afford)


def steady_since(seen_s: float | None, steady_s: float, now_s: float) -> float:
    """Since when reaps have come without a pause: the last came at `seen_s` (None: there was none), and then that was
    since `steady_s`. A clock that was put back is a pause too."""
    return steady_s if seen_s is not None and 0 <= now_s - seen_s <= PAUSE_S else now_s


def tokens_of(ask: Ask) -> int:
    """How many tokens the meters take of `ask`: all of them, or what the tightest could ever give."""
    limits = [meter.limit for meter in ask.meters if meter.measure in ("tpm", "tpd")]
    return min([countable(ask.tokens), *limits])


def countable(tokens: int) -> int:
    """`tokens`, as many as one request can have."""
    return min(max(tokens, 0), MAX_TOKENS)


def uncountable(counters: Sequence[Counter], sums: Sequence[int], by: int) -> str | None:
    """The counter whose sum cannot take `by` more, if there is one: nothing counts past 2**63."""
    for counter, sum_ in zip(counters, sums, strict=True):
        if sum_ + by >= MOST_SUM:
            return counter.name
    return None


def amount_of(meter: Meter, tokens: int) -> int:
    """What a request takes of `meter`."""
    return tokens if meter.measure in ("tpm", "tpd") else 1


def meter_refusal(ask: Ask, filled: Sequence[Mapping[int, int]], slots: Sequence[int], now_s: float) -> Refused | None:
    """Why the meters of `ask` have no room for it, if they have none; of several, the one that takes longest.

    `filled` holds the buckets (index to amount) per meter, `slots` the requests at once.
    """
    tokens = tokens_of(ask)
    found: Refused | None = None
    for meter, buckets, running in zip(ask.meters, filled, slots, strict=True):
        amount = amount_of(meter, tokens)
        if meter.limit < max(amount, ask.least_tokens if meter.measure in ("tpm", "tpd") else 0):
            return Refused("too_large", meter.name)
        if meter.measure == "parallel":
            wait_s = 1.0 if running + amount > meter.limit else 0.0
        else:
            wait_s = room_in_s(buckets, meter.measure, amount, meter.limit, now_s)
        if wait_s > 0 and (found is None or wait_s > found.retry_after_s):
            found = Refused("rate", meter.name, retry_after_s=wait_s)
    return found


def bucket(measure: Measure, now_s: float) -> int:
    """The index of the bucket that counts now."""
    return floor(now_s / BUCKET_S[measure])


def counting(buckets: Mapping[int, int], measure: Measure, now_s: float) -> dict[int, int]:
    """The buckets that still count."""
    oldest = bucket(measure, now_s) - BUCKETS
    return {index: amount for index, amount in buckets.items() if index >= oldest and amount}


def room_in_s(buckets: Mapping[int, int], measure: Measure, amount: int, limit: int, now_s: float) -> float:
    """In how many seconds `amount` fits; 0 when it does now."""
    counted = counting(buckets, measure, now_s)
    excess = sum(counted.values()) + amount - limit
    if excess <= 0:
        return 0.0
    for index in sorted(counted):
        excess -= counted[index]
        if excess <= 0:
            return leaves_s(index, measure, now_s)
    return BUCKETS * float(BUCKET_S[measure])


def level(buckets: Mapping[int, int], measure: Measure, now_s: float) -> Level:
    """How full a meter is, and when nothing of it will count any more."""
    counted = counting(buckets, measure, now_s)
    if not counted:
        return 0, 0.0
    return sum(counted.values()), leaves_s(max(counted), measure, now_s)


def leaves_s(index: int, measure: Measure, now_s: float) -> float:
    """In how many seconds a bucket will not count any more."""
    return float((index + BUCKETS + 1) * BUCKET_S[measure]) - now_s
