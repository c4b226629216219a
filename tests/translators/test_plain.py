"""Plain requests, on each dialect's short way: what comes out is what the long way makes, byte for byte."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.answers import MODELS, chat
from translators import anthropic, chat_request, gemini, plain
from translators.errors import LLMError
from translators.exchange import NONE, Context, Endpoint, Json, ModelFacts

ENDPOINTS = [
    Endpoint("p", "http://h", "key", "models/m x", facts, headers=headers)
    for facts in (ModelFacts(), ModelFacts(max_output_tokens=77, sampling=False, prefill=False, thinking="adaptive"))
    for headers in ({}, {"X-Own": "1", "Anthropic-Beta": "b"})
]
_ROLES = st.sampled_from(["system", "developer", "user", "user", "assistant", "assistant", "function"])
_MESSAGE = st.fixed_dictionaries(
    {"role": _ROLES, "content": st.sampled_from(["Hi", " a b ", "", " \n", "é\u2003", "\u2003"]) | st.none()},
    optional={"name": st.just("n"), "refusal": st.sampled_from([None, "no"])},
)
_CHAT = st.fixed_dictionaries(
    {"model": st.just("m")},
    optional={
        "max_completion_tokens": st.sampled_from([1, 400, None]),
        "max_tokens": st.sampled_from([2, None]),
        "temperature": st.sampled_from([0, 0.7, 1, 1.0, 1.5, 2, None]),
        "stream": st.sampled_from([True, False, None]),
        "stream_options": st.sampled_from([None, {}, {"include_usage": True}, {"include_usage": False}]),
        "n": st.just(1),
        "stop": st.just("x"),
        "seed": st.just(None),
        "response_format": st.just({"type": "text"}),
        "unheard_of": st.just(1),
    },
)
_TURNS = st.lists(_MESSAGE, min_size=1, max_size=5) | st.builds(  # conversations as they mostly are
    lambda system, turns: (
        [{"role": "system", "content": "Be brief"}] * system
        + [{"role": ("user", "assistant")[at % 2], "content": f"{at}"} for at in range(turns)]
    ),
    st.integers(0, 2),
    st.integers(1, 5),
)
LONG: dict[str, Any] = {
    "anthropic": lambda chat, endpoint: anthropic.messages_body(chat, endpoint),
    "gemini": lambda chat, endpoint: gemini.content_body(chat, endpoint, NONE, NONE),
}


@pytest.mark.parametrize("dialect", [anthropic, gemini], ids=["anthropic", "gemini"])
@given(asked=_CHAT, messages=_TURNS, endpoint=st.sampled_from(ENDPOINTS))
def test_the_short_way_makes_what_the_long_way_makes(
    dialect: Any, asked: Json, messages: Any, endpoint: Endpoint
) -> None:
    asked = {**asked, "messages": messages}
    short = dialect._plain_body(asked, endpoint)
    if short is None:
        return
    body, context, dropped = LONG[dialect.__name__.rpartition(".")[2]](asked, endpoint)
    assert orjson.dumps(short) == orjson.dumps(body)
    assert dropped == ()
    assert context == dialect._way(endpoint)[-1][plain.wants_usage(asked)]
    sent = dialect.request(asked, endpoint, NONE, NONE)
    assert (sent.body, sent.context, sent.dropped) == (orjson.dumps(body), context, ())


@pytest.mark.parametrize("dialect", [anthropic, gemini], ids=["anthropic", "gemini"])
@given(asked=_CHAT, messages=_TURNS, endpoint=st.sampled_from(ENDPOINTS))
def test_url_and_headers_are_the_same_on_both_ways(
    dialect: Any, asked: Json, messages: Any, endpoint: Endpoint
) -> None:
    asked = {**asked, "messages": messages}
    try:
        plainly = dialect.request(asked, endpoint, NONE, NONE)
        at_length = dialect.request({**asked, "seed": None}, endpoint, NONE, NONE)
    except LLMError:
        return
    assert plainly == at_length


@pytest.mark.parametrize("dialect", [anthropic, gemini], ids=["anthropic", "gemini"])
@pytest.mark.parametrize("streamed", [True, False])
def test_a_usual_request_goes_the_short_way(dialect: Any, streamed: bool) -> None:
    for model in MODELS.values():
        assert dialect._plain_body(chat_request.parse(chat(model, streamed)), ENDPOINTS[0]) is not None


@pytest.mark.parametrize(
    ("roles", "leading"),
    [
        ("u", 0),
        ("su", 1),
        ("sdu", 2),
        ("suaua", -1),  # carried on
        ("suauau", 1),
        ("a", -1),
        ("au", -1),
        ("uu", -1),
        ("usu", -1),
        ("s", -1),
    ],
)
def test_plain_is_instructions_and_then_turns_that_the_user_begins_and_ends(roles: str, leading: int) -> None:
    names = {"s": "system", "d": "developer", "u": "user", "a": "assistant"}
    assert plain.leading({"messages": [{"role": names[role], "content": "x"} for role in roles]}) == leading


@pytest.mark.parametrize("content", [None, "", " \n\u2003", [{"type": "text", "text": "x"}]])
def test_plain_is_some_text_in_each_message(content: object) -> None:
    assert plain.leading({"messages": [{"role": "user", "content": content}]}) == -1
    assert plain.leading({"messages": [{"role": "user", "content": "x", "name": "n"}]}) == -1
    assert plain.leading({"messages": [{"role": "user", "content": "x"}], "tools": []}) == -1


def test_the_context_says_whether_usage_was_asked_for() -> None:
    unasked, asked = plain.contexts(ENDPOINTS[0])
    assert (unasked, asked) == (Context("models/m x"), Context("models/m x", include_usage=True))
