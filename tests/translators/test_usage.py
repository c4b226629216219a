"""Disjoint buckets, and OpenAI's way of saying them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import CompletionUsage

from translators.usage import BILLED, Usage, count


def test_openais_usage_holds_every_bucket_once() -> None:
    usage = Usage(
        input_tokens=1,
        cache_read_tokens=2,
        cache_write_tokens=4,
        cache_write_1h_tokens=8,
        audio_input_tokens=16,
        image_input_tokens=32,
        cache_read_audio_tokens=64,
        output_tokens=128,
        reasoning_tokens=256,
        audio_output_tokens=512,
        image_output_tokens=1024,
    )
    told = CompletionUsage.model_validate(usage.to_openai())
    assert (told.prompt_tokens, told.completion_tokens, told.total_tokens) == (127, 1920, 2047)
    assert told.prompt_tokens_details is not None and told.completion_tokens_details is not None
    assert told.prompt_tokens_details.cached_tokens == 2 + 64
    assert told.prompt_tokens_details.cache_write_tokens == 4 + 8
    assert told.prompt_tokens_details.audio_tokens == 16 + 64
    assert told.prompt_tokens_details.image_tokens == 32
    assert told.completion_tokens_details.reasoning_tokens == 256
    assert told.completion_tokens_details.audio_tokens == 512


def test_only_what_is_billed_is_a_bucket() -> None:
    usage = Usage(input_tokens=3, web_searches=1, accepted_prediction_tokens=2, service_tier="flex", cost_usd="0.1")
    assert usage.buckets() == {"input_tokens": 3, "web_searches": 1}
    assert not set(BILLED) & {"service_tier", "region", "cost_usd", "rejected_prediction_tokens"}


@given(st.dictionaries(st.sampled_from(BILLED), st.integers(0, 3)))
def test_the_buckets_are_those_with_tokens_in_their_own_order(amounts: dict[str, int]) -> None:
    buckets = Usage(**amounts).buckets()  # type: ignore[arg-type]  # no bucket is a string
    assert list(buckets.items()) == [(name, amounts[name]) for name in BILLED if amounts.get(name)]


@pytest.mark.parametrize(("told", "counted"), [(7, 7), (0, 0), (-3, 0), (None, 0), ("7", 0), (True, 0), (1.5, 0)])
def test_a_count_is_never_a_credit(told: object, counted: int) -> None:
    assert count(told) == counted


@pytest.mark.parametrize("nonsense", [None, -1, 0, True, "7", 1.5, 10**18])
def test_a_count_that_cannot_be_is_none(nonsense: object) -> None:
    assert count(nonsense) == 0


def test_amounts_are_all_that_is_billed_in_its_order() -> None:
    usage = Usage(**{name: at for at, name in enumerate(BILLED, 1)})  # type: ignore[arg-type]  # none is a string
    assert usage.amounts() == tuple(range(1, len(BILLED) + 1))
    assert usage.tokens() == usage.prompt_tokens + usage.completion_tokens
