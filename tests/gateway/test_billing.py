"""From what was observed to what is billed."""

import base64
import time
from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
import pytest

from gateway.attempts import Course
from gateway.billing import bill, completion_tokens, observed
from gateway.ledger.hold import Hold
from gateway.ledger.parties import Parties, Party
from gateway.ledger.store import MAX_NANOUSD, Record
from gateway.prices.price_list import Row, When
from gateway.prices.pricing import Price, price
from gateway.routing import Target
from gateway.upstream import Timeouts
from translators import anthropic, openai
from translators.errors import LLMError
from translators.exchange import Answer, Context, Endpoint, UpstreamRequest
from translators.outcomes import Dropped
from translators.sse import encode
from translators.usage import Usage

TARGET = Target(
    provider="openai",
    model="small",
    route="",
    dialect="openai",
    endpoint=Endpoint("openai", "https://x", "k", "small"),
    price=price("small", Row(input=Decimal(1), output=Decimal(10), as_of="2026-11")),
    timeouts=Timeouts(5, 600, 120),
    total_s=60,
)
SENT = UpstreamRequest("https://x", {}, b"{}", Context())
KEY = Record(id="key_1", kind="key", alias="mine", team_id="team_1")
HOLD = Hold("r1", Parties((Party("key:key_1", KEY),), ()), frozenset(), (), 10**6, 0.0)


def course(**fields: Any) -> Course:
    chat = {"model": "small", "messages": [{"role": "user", "content": "four words of text"}]}
    made = Course("r1", 1, chat, (TARGET,), started=time.perf_counter())
    for name, value in {"target": TARGET, "sent": SENT, **fields}.items():
        setattr(made, name, value)
    return made


def whole(usage: Usage, text: str = "an answer") -> Course:
    body = orjson.dumps({"choices": [{"message": {"content": text}}]})
    return course(accepted=True, answer=Answer(body, usage))


def streaming(*deltas: str) -> Course:
    decoder = openai.Decoder(Context(), 1, "r1")
    for delta in deltas:
        decoder.feed(encode(orjson.dumps({"choices": [{"index": 0, "delta": {"content": delta}}]})))
    return course(accepted=True, decoder=decoder)


def test_the_provider_s_own_count_is_the_bill() -> None:
    made = bill(whole(Usage(input_tokens=100, output_tokens=10)), HOLD, "done")
    assert (made.cost_nanousd, made.estimated) == (100 * 1000 + 10 * 10_000, False)
    assert (made.target, made.price, made.key_alias, made.team_id) == (
        "openai/small",
        "small@2026-11",
        "mine",
        "team_1",
    )
    assert completion_tokens(made.usage) == 10


@pytest.mark.parametrize("ending", ["failed", "hung_up"])
def test_what_never_reached_a_provider_costs_nothing(ending: str) -> None:
    made = bill(course(sent=None), HOLD, ending)
    assert (made.cost_nanousd, made.usage, made.target) == (0, {}, "")


def test_an_error_before_any_content_costs_nothing() -> None:
    assert observed(streaming(), "failed") == (Usage(), False)
    assert observed(course(accepted=True), "failed") == (Usage(), False)


def test_who_hangs_up_pays_for_the_prompt_and_for_what_was_generated() -> None:
    assert observed(course(), "hung_up") == (Usage(), False)  # it waited for a connection: nothing was sent
    early, estimated = observed(course(on_its_way=True), "hung_up")
    assert estimated and early.input_tokens > 0 and early.completion_tokens == 0
    late, estimated = observed(streaming("word " * 100), "cancelled")
    assert estimated and late.input_tokens == early.input_tokens
    assert 80 <= late.output_tokens <= 200


def test_what_was_cut_before_its_text_came_is_an_estimate_though_its_prompt_is_known() -> None:
    decoder = anthropic.Decoder(Context(), 1, "r1")
    usage = {"input_tokens": 20, "output_tokens": 0}
    message = {"id": "m", "type": "message", "role": "assistant", "model": "small", "content": [], "usage": usage}
    decoder.feed(encode(orjson.dumps({"type": "message_start", "message": message})))
    cut = course(accepted=True, on_its_way=True, decoder=decoder)
    assert observed(cut, "hung_up") == (Usage(input_tokens=20), True)


@pytest.mark.parametrize(
    "content",
    [5, ["a"], {"text": {"text": 1}}, [[[[[[[[["deep"]]]]]]]]], None, "\ud800".encode("utf-8", "replace").decode()],
)
def test_whatever_stands_in_an_answer_it_can_be_billed(content: object) -> None:
    body = orjson.dumps(
        {"choices": [{"message": {"content": content, "tool_calls": ["x", 1], "reasoning_content": {}}}]}
    )
    seen, estimated = observed(course(accepted=True, answer=Answer(body, Usage())), "done")
    assert estimated and seen.input_tokens > 0


def test_usage_that_was_reported_in_a_failed_answer_is_billed() -> None:
    failure = LLMError("bad_upstream", "no choices")
    failure.usage = Usage(input_tokens=1000, output_tokens=10)
    failed = course(accepted=True, on_its_way=True)
    failed.failed(failure)
    assert observed(failed, "failed") == (failure.usage, False)


@pytest.mark.parametrize(
    ("failure", "accepted", "at_work"),
    [
        (LLMError("timeout", "silent"), False, True),
        (LLMError("timeout", "silent"), True, True),
        (LLMError("bad_upstream", "cut", code="provider_cut_off"), True, True),
        (LLMError("connect", "refused"), False, False),
        (LLMError("bad_upstream", "HTML"), True, False),
    ],
)
def test_a_provider_that_was_at_work_is_paid_for_the_prompt(failure: LLMError, accepted: bool, at_work: bool) -> None:
    failed = course(on_its_way=failure.kind != "connect", accepted=accepted)
    failed.failed(failure)
    assert (observed(failed, "failed")[0].input_tokens > 0) is at_work


def test_a_request_that_is_stopped_since_its_hold_is_lost_is_paid_for_the_prompt() -> None:
    stopped = course(on_its_way=True)
    stopped.failed(LLMError("unavailable", "The hold of this request ran out under it"))
    assert observed(stopped, "lost")[0].input_tokens > 0


def test_a_bill_is_never_more_than_can_be_counted() -> None:
    made = bill(whole(Usage(input_tokens=10**9, output_tokens=10**12)), HOLD, "done")
    assert (made.cost_nanousd, made.estimated) == (MAX_NANOUSD, True)


@pytest.mark.parametrize("ending", ["hung_up", "cancelled", "lost"])
def test_who_leaves_does_not_pay_an_attempt_that_was_refused(ending: str) -> None:
    refused = course(on_its_way=True, reply=object())  # whose message was still being read
    assert observed(refused, ending) == (Usage(), False)
    failed = course(on_its_way=True, accepted=True)  # with an error in a 200, before any content
    failed.failed(LLMError("overloaded", "busy"))
    assert observed(failed, ending) == (Usage(), False)
    waiting = course(on_its_way=True)
    both = course(lanes=(failed, waiting))
    assert bill(both, HOLD, ending).cost_nanousd == bill(waiting, HOLD, ending).cost_nanousd > 0


def test_a_count_that_is_missing_or_nothing_is_estimated() -> None:
    for usage in (Usage(), Usage(output_tokens=3), Usage(input_tokens=3)):
        seen, estimated = observed(whole(usage, "some words of an answer"), "done")
        assert estimated and seen.prompt_tokens > 0 and seen.completion_tokens > 0


def test_a_rate_that_is_missing_is_never_free() -> None:
    spoken = Usage(input_tokens=100, audio_output_tokens=10)
    made = bill(whole(spoken), HOLD, "done")
    assert made.unpriced and made.cost_nanousd == 100 * 1000 + 10 * 10_000  # at the dearest rates that are known
    rates = Row(
        input=Decimal(1),
        audio_input=Decimal(30),
        output=Decimal(10),
        audio_output=Decimal(60),
        web_search=Decimal("0.01"),
        when=(When(service_tier="priority", output=Decimal(90)),),
    )
    speaks = replace(TARGET, price=price("speaks", rates))
    for usage, nanousd in (
        (Usage(input_tokens=100, cache_read_tokens=1, output_tokens=10), 101 * 30_000 + 10 * 90_000),
        (Usage(input_tokens=100, output_tokens=10, web_searches=2, service_tier="novel"), 23_900_000),
    ):
        made = bill(course(accepted=True, answer=Answer(b"{}", usage), target=speaks), HOLD, "done")
        assert (made.unpriced, made.cost_nanousd) == (True, nanousd)
    unknown = course(accepted=True, answer=Answer(b"{}", spoken), target=replace(TARGET, price=None))
    assert bill(unknown, HOLD, "done").unpriced


def test_a_providers_own_figure_counts_by_the_version_of_the_price_that_is_in_force() -> None:
    trusting = Row(input=Decimal(60), output=Decimal(270), trust_provider_cost=True)
    listed = Row(input=Decimal(1), output=Decimal(10))
    stated = Usage(input_tokens=100, output_tokens=10, cost_usd="0.5")

    def billed(*versions: tuple[Row, float]) -> int:
        found = None
        for row, since_s in versions:
            found = replace(price("small", row), since_s=since_s, before=found)
        return bill(whole(stated) if found is None else priced(found), HOLD, "done").cost_nanousd

    def priced(found: Price) -> Course:
        return course(accepted=True, answer=whole(stated).answer, target=replace(TARGET, price=found))

    assert billed((trusting, 0.0), (listed, 2.0)) == 500_000_000  # it begins at 1
    assert billed((listed, 0.0), (trusting, 2.0)) == 100 * 1000 + 10 * 10_000


def test_an_estimate_is_at_the_tier_that_was_asked_for() -> None:
    row = Row(input=Decimal(1), output=Decimal(10), when=(When(service_tier="priority", multiply=Decimal(2)),))
    cut, tiered = streaming("word " * 100), replace(TARGET, price=price("small", row))
    cut.target = tiered
    plain = bill(cut, HOLD, "hung_up")
    for tier, times in (("priority", 2), ("fast", 2), ("auto", 1), ("unheard-of", 1)):
        cut.chat["service_tier"] = tier
        assert bill(cut, HOLD, "hung_up").cost_nanousd == times * plain.cost_nanousd
    cut.chat["service_tier"] = "priority"
    cut.sent = replace(SENT, dropped=(Dropped("service_tier", "there is none"),))
    assert bill(cut, HOLD, "hung_up").cost_nanousd == plain.cost_nanousd


def test_sound_that_was_heard_before_the_end_is_paid_for_as_sound() -> None:
    second = base64.b64encode(bytes(48_000)).decode()  # 24,000 samples of two bytes
    decoder = openai.Decoder(Context(), 1, "r1")
    for audio in ({"id": "a", "transcript": ""}, *({"data": second, "transcript": "a word"},) * 60):
        decoder.feed(encode(orjson.dumps({"choices": [{"index": 0, "delta": {"content": "", "audio": audio}}]})))
    cut = course(accepted=True, decoder=decoder)
    cut.chat["modalities"] = ["text", "audio"]
    usage, estimated = observed(cut, "hung_up")
    assert estimated and usage.output_tokens == 0
    assert 1200 <= usage.audio_output_tokens <= 1400  # twenty a second


def test_pictures_that_came_before_the_end_are_paid_for() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    decoder = openai.Decoder(Context(), 1, "r1")
    decoder.feed(encode(orjson.dumps({"choices": [{"index": 0, "delta": {"content": "", "images": [picture] * 2}}]})))
    cut = course(accepted=True, decoder=decoder)
    assert observed(cut, "hung_up")[0].output_tokens >= 2000


def test_what_a_host_did_not_come_to_say_it_charged_is_estimated_at_the_makers_price() -> None:
    bounding = Row(input=Decimal(60), output=Decimal(270), trust_provider_cost=True)
    listed = price("gpt-9", Row(input=Decimal(1), output=Decimal(10), as_of="2026-11"))
    target = replace(TARGET, price=price("openrouter/*", bounding, estimates=listed))
    cut = streaming("word " * 100)
    cut.target = target
    expected = bill(streaming("word " * 100), HOLD, "hung_up")
    made = bill(cut, HOLD, "hung_up")
    assert (made.cost_nanousd, made.price, made.estimated) == (expected.cost_nanousd, "gpt-9@2026-11", True)
    said = course(accepted=True, target=target, answer=whole(Usage(100, output_tokens=10, cost_usd="0.5")).answer)
    assert (bill(said, HOLD, "done").cost_nanousd, bill(said, HOLD, "done").price) == (500_000_000, "openrouter/*")
