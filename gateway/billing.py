"""How a request's ending becomes its bill: what was observed, priced; what was not reported, estimated."""

import time
from collections.abc import Mapping
from dataclasses import replace

import orjson

from gateway.attempts import Course
from gateway.estimate import prompt_estimate, text_estimate
from gateway.ledger.hold import Hold
from gateway.ledger.store import Bill
from gateway.pricing import Price, Unpriced, ceiling, cost
from translators.choices import summed
from translators.completion import written_bytes
from translators.usage import Usage

NOTHING = Usage()
LEFT = ("hung_up", "cancelled")  # endings in which our side went away
_COMPLETION = ("output_tokens", "reasoning_tokens", "audio_output_tokens", "image_output_tokens")


def bill(course: Course, hold: Hold, ending: str) -> Bill:
    """The bill of `course` as it stands. Nothing is due where no provider took the request."""
    seen = [observed(lane, ending) for lane in course.lanes or (course,)]
    used = [usage for usage, _ in seen if usage is not NOTHING]
    usage, estimated = summed(used) if used else NOTHING, any(guessed for _, guessed in seen)
    target, key = course.target, hold.holder.key
    nanousd, unpriced, row = 0, False, ""
    if target is not None and used:
        if target.price is None:
            unpriced = True
        else:
            row = target.price.row
            for each in used:  # by call: a prompt's size may decide its rate
                nanousd_of_one, lacking = _priced(each, target.price)
                nanousd, unpriced = nanousd + nanousd_of_one, unpriced or lacking
    now = time.perf_counter()
    return Bill(
        request_id=course.request_id,
        key_id=key.id,
        team_id=key.team_id,
        counters=hold.counters,
        cost_nanousd=nanousd,
        usage=usage.buckets(),
        model=course.chat["model"],
        target=target.name if target is not None and course.accepted else "",
        ending=ending,
        estimated=estimated,
        unpriced=unpriced,
        price=row,
        latency_ms=round((now - course.started) * 1000),
        first_token_ms=None if course.first_byte is None else round((course.first_byte - course.started) * 1000),
        attempts=course.attempts,
        key_alias=key.alias,
    )


def completion_tokens(buckets: Mapping[str, int]) -> int:
    """How long an answer was, from its billed buckets."""
    return sum(buckets.get(name, 0) for name in _COMPLETION)


def _priced(usage: Usage, price: Price) -> tuple[int, bool]:
    """What `usage` costs, and whether a rate was missing: then every token counts at the dearest rate that is known."""
    try:
        return cost(usage, price), False
    except Unpriced:
        pass
    try:
        return ceiling(price, usage.prompt_tokens, usage.completion_tokens), True
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
        text_bytes = 0 if course.answer.usage.completion_tokens else _text_bytes(course.answer.body)
        return _filled(course, course.answer.usage, text_bytes, complete=True)
    if course.reported is not None:
        return _filled(course, course.reported, 0, complete=True)
    at_work = course.broke_off or (ending in LEFT and course.on_its_way)
    if decoder is not None and (decoder.started or at_work or ending == "done"):
        return _filled(course, decoder.usage, decoder.output_bytes, complete=ending == "done")
    if at_work:
        received = course.reply.received_bytes if course.reply is not None and course.accepted else 0
        return _filled(course, NOTHING, received, complete=False)
    return NOTHING, False


def _filled(course: Course, usage: Usage, text_bytes: int, *, complete: bool) -> tuple[Usage, bool]:
    """`usage`, with an estimate where a provider left out, or had no time to say, what must have been used."""
    if usage.cost_usd is not None and complete:
        return usage, False
    seen = usage
    if not usage.prompt_tokens:
        usage = replace(usage, input_tokens=prompt_estimate(course.chat))
    if text_bytes and (not complete or not usage.completion_tokens):
        missing = text_estimate(text_bytes) - usage.completion_tokens
        usage = replace(usage, output_tokens=usage.output_tokens + max(0, missing))
    return usage, usage != seen


def _text_bytes(body: bytes) -> int:
    """UTF-8 bytes that the model wrote, from a whole answer whose provider did not count."""
    return sum(written_bytes(choice.get("message")) for choice in orjson.loads(body).get("choices") or ())
