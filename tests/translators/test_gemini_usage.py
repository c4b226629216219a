from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from translators.gemini_usage import service_tier, usage_of
from translators.usage import BILLED, Usage


def test_cached_audio_and_tool_tokens_are_in_buckets_of_their_own() -> None:
    metadata = {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 40,
        "toolUsePromptTokenCount": 7,
        "candidatesTokenCount": 20,
        "thoughtsTokenCount": 5,
        "totalTokenCount": 132,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 70}, {"modality": "AUDIO", "tokenCount": 30}],
        "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 30}, {"modality": "AUDIO", "tokenCount": 10}],
        "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 12}, {"modality": "IMAGE", "tokenCount": 3}],
        "serviceTier": "flex",
    }
    assert usage_of(metadata, web_searches=2) == Usage(
        input_tokens=47,
        cache_read_tokens=30,
        audio_input_tokens=20,
        cache_read_audio_tokens=10,
        output_tokens=5,
        reasoning_tokens=5,
        audio_output_tokens=12,
        image_output_tokens=3,
        web_searches=2,
        service_tier="flex",
    )


def test_missing_candidates_are_what_the_total_leaves_over() -> None:
    assert usage_of({"promptTokenCount": 9, "thoughtsTokenCount": 3, "totalTokenCount": 12}).completion_tokens == 3
    assert usage_of({"promptTokenCount": 9, "totalTokenCount": 12}).output_tokens == 3
    assert usage_of({"trafficType": "ON_DEMAND"}) == Usage(service_tier="default")


def test_tiers_have_openais_words() -> None:
    assert service_tier({"serviceTier": "standard"}) == "default"
    assert service_tier({"trafficType": "ON_DEMAND_PRIORITY"}) == "priority"
    assert service_tier({"trafficType": "ON_DEMAND_OFFPEAK"}) is None
    assert service_tier({}) is None
    deep: list[Any] = []
    for _ in range(2000):
        deep = [deep]
    assert service_tier({"serviceTier": deep}) is None


_COUNTS = st.one_of(st.integers(-5, 1000), st.none(), st.text(max_size=2))
_DETAILS = st.lists(
    st.fixed_dictionaries({"modality": st.sampled_from(["TEXT", "AUDIO", "IMAGE", 4]), "tokenCount": _COUNTS})
)
_NAMES = ("prompt", "cachedContent", "toolUsePrompt", "candidates", "thoughts", "total")


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from([f"{name}TokenCount" for name in _NAMES]), _COUNTS),
    st.dictionaries(st.sampled_from([f"{name}TokensDetails" for name in ("prompt", "cache", "candidates")]), _DETAILS),
)
def test_no_bucket_is_negative_and_no_part_exceeds_its_whole(counts: dict[str, Any], details: dict[str, Any]) -> None:
    usage = usage_of(counts | details)
    assert all(getattr(usage, name) >= 0 for name in BILLED)
    given = {key: value if isinstance(value, int) and value > 0 else 0 for key, value in counts.items()}
    assert usage.prompt_tokens == given.get("promptTokenCount", 0) + given.get("toolUsePromptTokenCount", 0)
    said = counts.get("candidatesTokenCount")
    if isinstance(said, int) and said >= 0:
        assert usage.completion_tokens == given["candidatesTokenCount"] + given.get("thoughtsTokenCount", 0)
