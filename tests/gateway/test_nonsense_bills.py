"""What becomes of a provider's own words on the bill: its price is believed, its nonsense is not."""

import json
import time
from decimal import ROUND_CEILING, Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.attempts import Course
from gateway.billing import owed
from gateway.config import load
from gateway.prices.pricing import price
from gateway.routing import Target
from gateway.upstream import Timeouts
from tests.replay import body_of, recordings
from translators.errors import LLMError
from translators.exchange import Context, Endpoint
from translators.registry import TRANSLATORS

Json = dict[str, Any]
CHAT = {"model": "m", "messages": [{"role": "user", "content": "four words of text"}]}
PRICES = load(None, None, None, {}).prices
TEXT = "an answer of some length, all of which somebody generated"


def target(provider: str, model: str, dialect: str) -> Target:
    found = PRICES.find(provider, model)
    assert found is not None
    endpoint = Endpoint(provider, "https://x", "k", model)
    return Target(provider, model, "", dialect, endpoint, price(*found), Timeouts(5, 600, 120), total_s=60)


OPENROUTER = target("openrouter", "a/b", "openrouter")
PERPLEXITY = target("perplexity", "sonar", "openai")
OPENAI = target("openai", "gpt-5.4-mini", "openai")


def course(target: Target, **fields: Any) -> Course:
    made = Course("r", 1, CHAT, (target,), started=time.perf_counter())
    for name, value in {"target": target, "accepted": True, **fields}.items():
        setattr(made, name, value)
    return made


def whole(target: Target, body: bytes) -> Course:
    return course(target, answer=TRANSLATORS[target.dialect].response(body, Context(), 1, "r"))


def streamed(target: Target, body: bytes) -> Course:
    """As much of a stream as came before it was at its end or failed."""
    decoder = TRANSLATORS[target.dialect].Decoder(Context(), 1, "r")
    try:
        decoder.feed(body)
        decoder.close()
    except LLMError:
        pass
    return course(target, decoder=decoder, on_its_way=True)


def answer(usage: object) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}
    return json.dumps({"choices": [choice], "usage": usage}).encode()


def frames(*usages: object) -> bytes:
    chunks = ({"choices": [{"index": 0, "delta": {"content": TEXT}}], "usage": usage} for usage in usages)
    return b"".join(b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in chunks)


def stated_nanousd(row: Json) -> int | None:
    """The last price in a recorded exchange, read in the plainest way."""
    found = None
    for line in body_of(row).decode().splitlines():
        text = line.removeprefix("data:").strip()
        usage = json.loads(text, parse_float=Decimal).get("usage") if text.startswith("{") else None
        if usage and "cost" in usage:
            own = usage["cost_details"]["upstream_inference_cost"] if usage.get("is_byok") else 0
            found = int(((Decimal(usage["cost"]) + Decimal(own)) * 10**9).to_integral_value(ROUND_CEILING))
    return found


def test_what_openrouter_says_it_charged_is_the_bill() -> None:
    seen = 0
    for row in recordings("openrouter.chat").values():
        stated = stated_nanousd(row) if row["response"]["status"] == 200 else None
        if stated is None:
            continue
        try:
            made = (streamed if row["stream"] else whole)(OPENROUTER, body_of(row))
        except LLMError:  # an error within a 200
            continue
        due = owed(made, "done")
        assert (due.nanousd, due.estimated, due.unpriced) == (stated, False, False), row["id"]
        seen += 1
    assert seen > 10


@pytest.mark.parametrize(("cost", "nanousd"), [(0.00014, 140_000), ("0.00014", 140_000), (0, 0), ("0", 0), (1e-10, 1)])
def test_a_price_beside_a_count_is_believed(cost: object, nanousd: int) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 9, "cost": cost}
    assert owed(whole(OPENROUTER, answer(usage)), "done")[1:4] == (nanousd, False, False)


@pytest.mark.parametrize("cost", [-1, "-1", "NaN", "-Infinity", 1e300, True, None, [], {"total_cost": -1}])
def test_a_price_that_cannot_be_is_the_rates(cost: object) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 9, "cost": cost}
    plain = owed(whole(OPENROUTER, answer({"prompt_tokens": 5, "completion_tokens": 9})), "done")
    assert owed(whole(OPENROUTER, answer(usage)), "done") == plain and plain.nanousd > 0


@pytest.mark.parametrize("usage", [{"cost": 0}, {"prompt_tokens": 0, "completion_tokens": 0, "cost": "0"}])
@pytest.mark.parametrize("where", [OPENROUTER, OPENAI], ids=["trusted", "not"])
def test_nothing_for_work_that_was_done_is_no_price(where: Target, usage: Json) -> None:
    for made in (whole(where, answer(usage)), streamed(where, frames(usage))):
        due = owed(made, "done")
        assert due.estimated and due.nanousd > 0


def test_what_was_charged_by_the_middle_of_a_stream_is_not_all_that_is_due() -> None:
    """Perplexity says 0 until the last frame (recorded)."""
    body = frames({"prompt_tokens": 4000, "completion_tokens": 1, "cost": {"total_cost": 0}})
    due = owed(streamed(PERPLEXITY, body), "hung_up")
    assert due.nanousd >= 4000 * 1000 + 12_000_000


VALUES = st.one_of(st.integers(-3, 900), st.floats(), st.none(), st.text(max_size=3), st.booleans(), st.just(10**30))
NAMES = st.sampled_from(["prompt_tokens", "completion_tokens", "total_tokens", "cost", "reasoning_tokens"])
USAGES = st.one_of(VALUES, st.lists(VALUES, max_size=2), st.dictionaries(NAMES, VALUES, max_size=5))


@settings(deadline=None)
@given(st.lists(USAGES, min_size=1, max_size=4), st.sampled_from(["done", "hung_up", "failed"]))
def test_no_bill_is_a_credit_or_free_whatever_is_said(usages: list[object], ending: str) -> None:
    body = frames(*usages).replace(b"NaN", b"null").replace(b"-Infinity", b"-1").replace(b"Infinity", b"1")
    due = owed(streamed(OPENAI, body), ending)
    assert due.nanousd > 0
    assert all(amount > 0 for amount in due.usage.buckets().values())


def test_usage_on_every_frame_is_billed_once() -> None:
    usages = [{"prompt_tokens": 100, "completion_tokens": made} for made in range(1, 50)]
    due = owed(streamed(OPENAI, frames(*usages, usages[-1])), "done")
    assert (due.nanousd, due.estimated) == (100 * 750 + 49 * 4500, False)
