"""Bounds that hold, and guesses that are near."""

import base64
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.prices.estimate import (
    CONTEXT_TOKENS,
    IMAGE_TOKENS,
    SEARCHES,
    input_bound,
    map_search_bound,
    offered,
    prompt_estimate,
    search_bound,
    special_rates,
    text_alone,
    text_bound,
    text_estimate,
    unbounded,
)
from translators.exchange import ModelFacts

KNOWN = ModelFacts(max_input_tokens=300_000)
PICTURE = "data:image/png;base64," + base64.b64encode(bytes(900_000)).decode()


def chat(*content: Any, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": part} for part in content], **more}


def bound(asked: dict[str, Any], facts: ModelFacts = KNOWN) -> int:
    return input_bound(asked, len(orjson.dumps(asked)), facts)


@given(st.lists(st.text(max_size=200), min_size=1, max_size=5))
def test_text_is_never_more_tokens_than_its_bytes_and_what_is_put_around_it(texts: list[str]) -> None:
    size = sum(len(text.encode()) for text in texts)
    assert size + 16 * len(texts) <= bound(chat(*texts), ModelFacts())


@given(st.lists(st.text(max_size=20), min_size=1, max_size=5), st.integers(1, 10**7), st.sampled_from([None, 100]))
def test_text_alone_is_bound_by_its_bytes(texts: list[str], size: int, most: int | None) -> None:
    asked, facts = chat(*texts), ModelFacts(max_input_tokens=most)
    assert text_alone(asked)
    assert text_bound(asked, size, facts) == input_bound(asked, size, facts)
    assert text_bound(asked, size, facts) == min(size + 16 * len(texts), most or CONTEXT_TOKENS)


def test_a_picture_counts_as_a_picture_and_not_by_its_bytes() -> None:
    with_picture = bound(chat([{"type": "image_url", "image_url": {"url": PICTURE}}]))
    assert IMAGE_TOKENS < with_picture < IMAGE_TOKENS + 300
    by_url = bound(chat([{"type": "image_url", "image_url": {"url": "https://h/a.png"}}]))
    assert IMAGE_TOKENS < by_url < IMAGE_TOKENS + 300


def test_a_picture_of_an_earlier_answer_is_one() -> None:
    asked = chat("hi", "there")
    asked["messages"][0]["images"] = [{"type": "image_url", "image_url": {"url": PICTURE}}, None]
    assert IMAGE_TOKENS < bound(asked) < IMAGE_TOKENS + 300
    asked["messages"][0]["images"] = 3  # as callers may write it
    assert bound(asked) < 300


def test_audio_counts_by_its_length() -> None:
    data = base64.b64encode(bytes(48_000)).decode()
    tokens = bound(chat([{"type": "input_audio", "input_audio": {"data": data, "format": "mp3"}}]))
    assert 48 * 32 < tokens < 10_000  # 48 seconds at the thinnest, of 32 tokens each


@pytest.mark.parametrize(
    "asked",
    [
        chat([{"type": "file", "file": {"file_id": "file-1"}}]),
        chat([{"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}}]),
        chat([{"type": "video_url", "video_url": {"url": "https://h/v.mp4"}}]),
        chat("hi", web_search_options={}),
        chat("hi", tools=[{"type": "web_search_20260101", "name": "web_search"}]),
        {"messages": [{"role": "assistant", "audio": {"id": "audio-1"}}, {"role": "user", "content": "hi"}]},
        chat("hi", cached_content="cachedContents/a"),
        chat("hi", extra_body={"google": {"cached_content": "cachedContents/a"}}),
        chat([{"type": "image_url", "image_url": {"url": "https://www.youtube.com/watch?v=a"}}]),
        chat([{"type": "image_url", "image_url": {"url": "https://generativelanguage.googleapis.com/v1beta/files/a"}}]),
        chat([{"type": "image_url", "image_url": {"url": "gs://b/a.mp4"}}]),
        chat([{"type": "image_url", "image_url": {"url": "data:video/mp4;base64,AAAA"}}]),
        {"messages": [{"role": "assistant", "content": "a", "images": [{"image_url": {"url": "https://youtu.be/a"}}]}]},
        {"messages": [{"role": "assistant", "content": "a", "images": [{"image_url": "https://h"}]}]},
    ],
)
def test_what_has_no_bound_of_its_own_counts_as_the_whole_context(asked: dict[str, Any]) -> None:
    assert bound(asked) == 300_000
    assert bound(asked, ModelFacts()) == CONTEXT_TOKENS


def test_a_text_file_is_text() -> None:
    data = "data:text/plain;base64," + base64.b64encode(b"x" * 3000).decode()
    assert 3000 < bound(chat([{"type": "file", "file": {"file_data": data}}])) < 6000


def test_a_prompt_is_never_held_beyond_the_context_that_the_model_has() -> None:
    assert bound(chat("x" * 400_000)) == 300_000


def test_tools_and_formats_bring_instructions_of_their_own() -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    plain = chat("hi")
    assert bound(chat("hi", tools=[tool])) >= bound(plain) + 1024
    assert bound(chat("hi", response_format={"type": "json_object"})) >= bound(plain) + 1024


@pytest.mark.parametrize(
    ("more", "searches"),
    [
        ({}, 0),
        ({"tools": [{"type": "function", "function": {"name": "search"}}]}, 0),
        ({"tools": [{"type": "code_execution"}]}, 0),
        ({"web_search_options": {}}, SEARCHES),
        ({"plugins": [{"id": "web"}]}, SEARCHES),
        ({"plugins": [{"id": "file-parser"}, 3]}, 0),
        ({"tools": [{"type": "google_search"}]}, SEARCHES),
        ({"tools": [{"type": "web_search_20260101", "max_uses": 3}]}, 3),
    ],
)
def test_searches_are_bounded(more: dict[str, Any], searches: int) -> None:
    assert search_bound(chat("hi", **more)) == searches


def test_a_search_that_may_not_be_called_counts_where_it_is_sent_all_the_same() -> None:
    tools = [{"type": "google_search"}, {"type": "google_maps"}]
    chosen = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "google_maps"}]}}
    asked = chat("hi", tools=tools, web_search_options={}, tool_choice=chosen)
    for dialect, searches in (("gemini", 0), ("vertex", 0), ("openai", SEARCHES)):
        assert search_bound(offered(asked, dialect)) == searches
        assert map_search_bound(offered(asked, dialect)) == 1


def test_an_answer_comes_with_one_lot_of_places_at_most() -> None:
    assert map_search_bound(chat("hi", tools=[{"type": "google_maps"}, {"type": "google_search"}])) == 1
    assert map_search_bound(chat("hi", tools=[{"type": "google_search"}])) == map_search_bound(chat("hi")) == 0


@pytest.mark.parametrize(
    ("asked", "rates"),
    [
        (chat("hi"), set()),
        (chat("hi", modalities=["text"]), set()),
        (chat("hi", modalities=["text", "audio"]), {"audio_output"}),
        (chat([{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]), {"audio_input"}),
        (chat([{"type": "image_url", "image_url": {"url": "https://h"}}]), {"image_input"}),
        (chat([{"type": "image_url", "image_url": {"url": "https://youtu.be/a"}}]), {"image_input", "audio_input"}),
        (chat([{"type": "image_url", "image_url": {"url": "gs://b/a.MP3"}}]), {"image_input", "audio_input"}),
        (chat([{"type": "image_url", "image_url": {"url": "gs://b/a.png"}}]), {"image_input"}),
        (chat([{"type": "file", "file": {"file_id": "files/a", "filename": "a.mp3"}}]), {"audio_input"}),
        (chat([{"type": "file", "file": {"file_id": "files/a"}}]), {"audio_input"}),
        (chat([{"type": "file", "file": {"file_id": "files/a", "filename": "a.pdf"}}]), set()),
        (chat([{"type": "file", "file": {"file_data": "data:audio/wav;base64,"}}]), {"audio_input"}),
        (chat([{"type": "file", "file": {"file_data": "data:application/pdf;base64,"}}]), set()),
        (chat([{"type": "file", "file": {"file_data": "JVBERi0="}}]), set()),
        (chat([{"type": "file", "file": {"file_data": "AAAA", "filename": "a.mp4"}}]), {"audio_input"}),
        (chat([{"type": "file", "file": {"file_data": "https://h/a"}}]), {"audio_input"}),
        (chat([{"type": "text", "text": "", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]), {"cache_write_1h"}),
        (chat([{"type": "text", "text": "", "cache_control": {"type": "ephemeral"}}]), set()),
        (chat("hi", tools=[{"type": "function", "cache_control": {"ttl": "1h"}}]), {"cache_write_1h"}),
        (chat("hi", tools=[{"type": "custom", "custom": {"cache_control": {"ttl": "1h"}}}]), {"cache_write_1h"}),
        (chat("hi", functions=[{"name": "f", "cache_control": {"ttl": "1h"}}]), {"cache_write_1h"}),
    ],
)
def test_special_rates_are_asked_for_where_they_can_apply(asked: dict[str, Any], rates: set[str]) -> None:
    assert special_rates(asked, "gemini") == rates


def test_a_file_is_sound_to_those_alone_who_hear_it() -> None:
    asked = chat([{"type": "file", "file": {"file_id": "file-a"}}])
    assert special_rates(asked, "openai") == special_rates(asked, "anthropic") == set()


@pytest.mark.parametrize(
    "asked",
    [
        chat("hi", prompt_cache_options={"ttl": "12h"}),
        chat([{"type": "text", "text": "", "prompt_cache_breakpoint": {"ttl": "30m"}}]),
        {"messages": [{"role": "user", "content": "hi", "prompt_cache_breakpoint": {"ttl": "30m"}}]},
        {
            "messages": [
                {"role": "assistant", "content": "", "tool_calls": [{"prompt_cache_breakpoint": {"ttl": "1h"}}]}
            ]
        },
    ],
)
def test_what_openai_says_of_a_cache_is_an_hour_where_it_is_read(asked: dict[str, Any]) -> None:
    assert not text_alone(asked)
    assert special_rates(asked, "anthropic") == special_rates(asked, "bedrock") == {"cache_write_1h"}
    assert special_rates(asked, "openai") == set()


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({}, None),
        ({"search_parameters": {"mode": "on"}}, "search_parameters"),
        ({"search_parameters": None}, None),
        ({"plugins": [{"id": "web"}]}, None),
        ({"plugins": [{"id": "web"}, {"id": "file-parser"}]}, "plugins"),
        ({"preset": "a"}, "preset"),
        ({"performanceConfig": {"latency": "optimized"}}, "performanceConfig"),
        ({"additionalModelRequestFields": {"top_k": 9}}, None),
        ({"additionalModelRequestFields": {"top_k": 9, "max_tokens": 9}}, "additionalModelRequestFields"),
    ],
)
def test_what_nothing_bounds_is_named(more: dict[str, Any], name: str | None) -> None:
    assert unbounded(chat("hi", **more)) == name


def test_an_estimate_of_text_is_near_a_token_every_four_bytes_and_a_character_elsewhere() -> None:
    assert text_estimate(0) == 0
    assert text_estimate(1) == 1
    assert text_estimate(400) == 100
    english = prompt_estimate(chat("The quick brown fox jumps over the lazy dog. " * 10))
    assert 100 <= english <= 130  # 101 by o200k
    assert 30 <= prompt_estimate(chat("敏捷的棕色狐狸跳过懒狗身上敏捷的棕色狐狸跳过懒狗身上敏捷的")) <= 40


def test_an_estimate_counts_calls_tools_and_pictures() -> None:
    plain = prompt_estimate(chat("hi"))
    tool = {"type": "function", "function": {"name": "f", "description": "x" * 400}}
    assert prompt_estimate(chat("hi", tools=[tool])) > plain + 100
    assert prompt_estimate(chat([{"type": "image_url", "image_url": {"url": PICTURE}}])) < 10_000
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "x" * 400}}
    asked = {"messages": [{"role": "assistant", "content": None, "tool_calls": [call]}]}
    assert prompt_estimate(asked) > 100
