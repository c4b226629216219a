"""How a request's ending becomes its bill: what was observed, priced; what was not reported, estimated."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import Any

import orjson

from gateway.attempts import Course, Owed
from gateway.ledger.hold import Hold
from gateway.ledger.store import MAX_NANOUSD, Bill
from gateway.prices.estimate import prompt_estimate
from gateway.prices.pricing import Price, Unpriced, cost, dearest, nanousd
from translators.choices import summed
from translators.completion import written_bytes
from translators.exchange import Json
from translators.usage import Usage

NOTHING = Usage()
LEFT = ("hung_up", "cancelled", "cut", "lost")  # endings in which our side went away
_COMPLETION = ("output_tokens", "reasoning_tokens", "audio_output_tokens", "image_output_tokens")


def owed(course: Course, ending: str) -> Owed:
    """What the present attempt costs as it stands. Nothing is due where no provider took the request."""
    if course.lanes:
        each = [observed(lane, ending) for lane in course.lanes]
        used, guessed = [usage for usage, _ in each if usage is not NOTHING], any(estimated for _, estimated in each)
    else:
        usage, guessed = observed(course, ending)
        used = [] if usage is NOTHING else [usage]
    target, began_s = course.target, course.began_s
    if target is None or not used:
        return Owed(NOTHING, 0, guessed, False, "")
    price = target.price
    if price is None:
        return Owed(summed(used), 0, guessed, True, "")
    nanousd, unpriced, applied = 0, False, price
    for usage in used:  # by call: a prompt's size may decide its rate
        applied = price if usage.cost_usd is not None or price.estimates is None else price.estimates
        nanousd_of_one, lacking = _priced(usage, applied, began_s)
        nanousd, unpriced = nanousd + nanousd_of_one, unpriced or lacking
    return Owed(used[0] if len(used) == 1 else summed(used), nanousd, guessed, unpriced, applied.named(began_s))


def bill(course: Course, hold: Hold, ending: str) -> Bill:
    """The bill of `course` as it stands, failed attempts that cost something included."""
    due = owed(course, ending)
    if course.past:
        due = _together([*course.past, due])
    usage, nanousd, estimated, unpriced, row = due
    if nanousd > MAX_NANOUSD:  # no answer costs so much: what was told is nonsense
        nanousd, estimated = MAX_NANOUSD, True
    target, payers, started, first = course.target, hold.parties, course.started, course.first_byte
    return Bill(
        course.request_id,
        payers.key_id,
        payers.team_id,
        hold.counters,
        nanousd,
        usage.buckets(),
        course.chat["model"],
        target.name if target is not None and (course.accepted or usage is not NOTHING) else "",
        ending,
        estimated,
        unpriced,
        row,
        usage.service_tier,
        usage.region,
        round((time.perf_counter() - started) * 1000),
        None if first is None else round((first - started) * 1000),
        course.attempts,
        payers.key_alias,
        course.end_user,
        course.tags,
        usage.tokens(),
    )


def _together(parts: Sequence[Owed]) -> Owed:
    """What several attempts cost. The row is that of the last one that has any."""
    return Owed(
        usage=summed([part.usage for part in parts]),
        nanousd=sum(part.nanousd for part in parts),
        estimated=any(part.estimated for part in parts),
        unpriced=any(part.unpriced for part in parts),
        row=next((part.row for part in reversed(parts) if part.row), ""),
    )


def completion_tokens(buckets: Mapping[str, int]) -> int:
    """How long an answer was, from its billed buckets."""
    if len(buckets) == 2 and "input_tokens" in buckets and "output_tokens" in buckets:  # as mostly
        return buckets["output_tokens"]
    return sum([buckets[name] for name in _COMPLETION if name in buckets])


def _priced(usage: Usage, price: Price, at_s: float) -> tuple[int, bool]:
    """What `usage` costs, and whether a rate was missing: then every token counts at the dearest rate that is known."""
    try:
        return cost(usage, price, at_s), False
    except Unpriced:
        pass
    try:
        return dearest(price, usage, at_s), True
    except Unpriced:
        return 0, True


def observed(course: Course, ending: str) -> tuple[Usage, bool]:
    """What the provider says was used, or an estimate and True where it did not come to say so.

    A provider's error before any content costs nothing, and so does an answer that came whole but was none (HTML, no
    JSON), unless usage stood in it. A provider that was at work when the client or either end went away is paid for
    the prompt and for what it had generated.
    """
    decoder = course.decoder
    if course.answer is not None:
        usage = course.answer.usage
        if usage.output_tokens and usage.input_tokens and usage.cost_usd is None:
            return usage, False  # as it mostly is: there is nothing to fill in
        counted = usage.completion_tokens
        return _filled(course, usage, 0 if counted else _text_bytes(course.answer.body), complete=True)
    if course.reported is not None:
        return _filled(course, course.reported, 0, complete=True)
    at_work = course.broke_off or (ending in LEFT and course.at_work)
    if decoder is not None and (decoder.started or at_work or ending == "done"):
        complete = ending == "done" or decoder.done or course.ended  # who left may have left behind its end
        return _filled(course, decoder.usage, decoder.output_bytes, complete=complete)
    if at_work:
        received = course.reply.received_bytes if course.reply is not None and course.accepted else 0
        return _filled(course, NOTHING, received, complete=False)
    return NOTHING, False


def _filled(course: Course, usage: Usage, text_bytes: int, *, complete: bool) -> tuple[Usage, bool]:
    """`usage`, with an estimate where a provider left out, or had no time to say, what must have been used."""
    if complete and _believed(course, usage):
        return usage, False
    # what was charged by now, or for nothing, is not what is due
    changes: dict[str, Any] = {} if usage.cost_usd is None else {"cost_usd": None}
    guessed = not complete
    if not usage.prompt_tokens:
        if course.prompt_guess is None:  # asked at every checkpoint, and long prompts take their time
            course.prompt_guess = prompt_estimate(course.chat, course.text_alone)
        changes["input_tokens"], guessed = course.prompt_guess, True
    if text_bytes and (not complete or not usage.completion_tokens):
        missing = ceil(text_bytes / course.bytes_per_token) - usage.completion_tokens
        if missing > 0:
            kind = _kind_of_output(course.chat)
            changes[kind], guessed = getattr(usage, kind) + missing, True
    if guessed and not usage.service_tier and (tier := _tier_asked(course)):
        changes["service_tier"] = tier
    if not changes:
        return usage, guessed
    # nothing was counted yet, as at most checkpoints of a stream: a third of the time
    return Usage(**changes) if usage.blank() else replace(usage, **changes), guessed


def _kind_of_output(chat: Json) -> str:
    """The bucket of what was asked for beside text, which is the dearer."""
    for kind in chat.get("modalities") or ():
        if kind in ("audio", "image"):
            return f"{kind}_output_tokens"
    return "output_tokens"


def _tier_asked(course: Course) -> str:
    """The tier that the provider was asked for and has not said, where it has a rate of its own; else ""."""
    asked, target = course.chat.get("service_tier"), course.target
    if not asked or target is None or target.price is None:
        return ""
    if course.sent is not None and any(drop.feature == "service_tier" for drop in course.sent.dropped):
        return ""
    try:
        return target.price.tier(asked)
    except Unpriced:  # of which nothing is known
        return ""


def _believed(course: Course, usage: Usage) -> bool:
    """Whether the provider's own figure stands in for what it may have left out: 0 is one only beside a count."""
    if usage.cost_usd is None:
        return False
    price = next((target.price for target in (course.target, *course.targets) if target is not None), None)
    stated = nanousd(usage.cost_usd)
    counted = usage.prompt_tokens or usage.completion_tokens
    if price is None or not (stated or (stated == 0 and counted)):
        return False
    try:
        return price.at(course.began_s).rates.trust_provider_cost
    except Unpriced:  # before its first version
        return False


def _text_bytes(body: bytes) -> int:
    """UTF-8 bytes that the model wrote, from a whole answer whose provider did not count."""
    return sum(written_bytes(choice.get("message")) for choice in orjson.loads(body).get("choices") or ())
