"""OpenAI's cache breakpoints, as both of Claude's hosts take them."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from translators import anthropic, bedrock, cache_marks
from translators.exchange import Endpoint, Json, ModelFacts

SHORT, LONG = {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}
FACTS = ModelFacts(max_output_tokens=4096)


def part(text: str, **mark: Any) -> Json:
    return {"type": "text", "text": text, "prompt_cache_breakpoint": {"mode": "explicit", **mark}}


def chat(*parts: Json, **asked: Any) -> Json:
    return {"model": "m", "messages": [{"role": "user", "content": list(parts)}], **asked}


def at_anthropic(asked: Json) -> tuple[list[Json | None], set[str]]:
    """The marks of tools, system and messages in the prompt's order, the whole request's last; what is reported."""
    body, _, dropped = anthropic.messages_body(asked, Endpoint("anthropic", "https://a", "k", "claude-x", FACTS))
    blocks = [block for turn in body["messages"] for block in turn["content"]]
    marks = [block.get("cache_control") for block in (*body.get("tools", ()), *body.get("system", ()), *blocks)]
    return [*marks, body.get("cache_control")], {lost.feature for lost in dropped}


def at_bedrock(asked: Json) -> tuple[list[Json | None], set[str]]:
    """The same; a cachePoint is the mark of the block before it."""
    sent = bedrock.request(asked, Endpoint("bedrock", "https://b", "k", "anthropic.claude-x", FACTS))
    body = orjson.loads(sent.body)
    turns = [block for turn in body["messages"] for block in turn["content"]]
    blocks = [*body.get("toolConfig", {}).get("tools", ()), *body.get("system", ()), *turns]
    marks: list[Json | None] = []
    for block in blocks:
        if "cachePoint" in block:
            assert marks[-1] is None, "two behind each other"
            marks[-1] = LONG if block["cachePoint"].get("ttl") == "1h" else SHORT
        else:
            marks.append(None)
    return marks, {lost.feature for lost in sent.dropped}


@pytest.fixture(params=[at_anthropic, at_bedrock], ids=["anthropic", "bedrock"])
def marks_of(request: pytest.FixtureRequest) -> Callable[[Json], tuple[list[Json | None], set[str]]]:
    """The marks that reach the provider; where there is one at the end, without the place of the whole request's."""

    def marks(asked: Json) -> tuple[list[Json | None], set[str]]:
        found, reported = request.param(asked)
        if request.param is at_anthropic:
            whole = found.pop()
            assert whole is None or found[-1] is None, "two on one block"
            found[-1] = found[-1] or whole
        return found, reported

    return marks


Marks = Callable[[Json], tuple[list[Json | None], set[str]]]


def test_a_breakpoint_without_a_lifetime_has_the_requests(marks_of: Marks) -> None:
    explicit = {"mode": "explicit", "ttl": "30m"}
    assert marks_of(chat(part("a"), part("b"), prompt_cache_options=explicit))[0] == [LONG, LONG]
    assert marks_of(chat(part("a"), part("b")))[0] == [SHORT, SHORT]


def test_none_for_an_hour_comes_behind_one_for_five_minutes(marks_of: Marks) -> None:
    text = {"type": "text", "text": "c"}
    assert marks_of(chat(part("a"), part("b", ttl="30m"), part("c")))[0] == [LONG, LONG, SHORT]
    assert marks_of(chat(part("a"), text, prompt_cache_options={"ttl": "30m"}))[0] == [LONG, LONG]
    own = {**text, "cache_control": LONG}
    assert marks_of(chat(part("a"), own, part("d")))[0] == [LONG, LONG, SHORT]


def test_the_end_is_marked_once(marks_of: Marks) -> None:
    assert marks_of(chat(part("a"), part("b", ttl="30m"), prompt_cache_options={"mode": "implicit"}))[0] == [LONG, LONG]
    own = {"type": "text", "text": "a", "cache_control": LONG}
    assert marks_of(chat(own, prompt_cache_options={"mode": "implicit"}))[0] == [LONG]


def test_the_latest_four_are_written_as_at_openai(marks_of: Marks) -> None:
    six = [part(text) for text in "abcdef"]
    assert marks_of(chat(*six))[0] == [None, None, SHORT, SHORT, SHORT, SHORT]
    behind = marks_of(chat(*six, {"type": "text", "text": "g"}, prompt_cache_options={"mode": "implicit"}))[0]
    assert behind == [None, None, None, SHORT, SHORT, SHORT, SHORT]
    own = [{"type": "text", "text": text, "cache_control": SHORT} for text in "xyz"]
    assert marks_of(chat(*own, *six))[0] == [SHORT, SHORT, SHORT, None, None, None, None, None, SHORT]
    four = [*own, {"type": "text", "text": "w", "cache_control": SHORT}]
    assert marks_of(chat(*four, *six))[0] == [*[SHORT] * 4, *[None] * 6]


def test_tools_come_first_and_the_client_is_told_what_an_hour_does_not_cover(marks_of: Marks) -> None:
    tool = {"type": "function", "function": {"name": "f", "prompt_cache_breakpoint": {"mode": "explicit"}}}
    marks, reported = marks_of(chat(part("a", ttl="12h"), tools=[tool]))
    assert marks == [LONG, LONG] and reported == {"prompt_cache_breakpoint.ttl=12h"}


def test_a_request_without_any_is_left_alone() -> None:
    asked = chat({"type": "text", "text": "a", "cache_control": SHORT})
    assert cache_marks.in_anthropics_words(asked, []) is asked
