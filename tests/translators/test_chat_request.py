"""The caller's body: what is wrong is named, what is unknown passes."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from translators import chat_request
from translators.errors import LLMError

USER = {"role": "user", "content": "Hi"}
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n....").decode()
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
ASKED = {"role": "assistant", "tool_calls": [CALL]}


def parsed(**fields: Any) -> dict[str, Any]:
    return chat_request.parse(json.dumps({"model": "m", "messages": [USER], **fields}).encode())


def image(url: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]


def test_a_body_passes_as_it_is_with_its_order_and_its_extensions() -> None:
    messages = [
        USER,
        ASKED,
        {"role": "tool", "tool_call_id": "c1", "content": "ok"},
        *image(f"data:image/png;base64,{PNG}"),
    ]
    chat = parsed(messages=messages, temperature=None, vendor={"x": 1}, max_tokens=5)
    assert list(chat) == ["model", "messages", "temperature", "vendor", "max_tokens"]
    assert chat["messages"] == messages and chat["vendor"] == {"x": 1}


@pytest.mark.parametrize(
    "body", [b"", b"{", b"nonsense", b'{"model":"m","messages":[{"role":"user","content":"\xff"}]}']
)
def test_malformed_json(body: bytes) -> None:
    with pytest.raises(LLMError, match="not valid JSON") as caught:
        chat_request.parse(body)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"model": "m" * 513}, "model"),
        ({"messages": [{**USER, "tool_calls": 5}]}, "messages[0].tool_calls"),
        ({"messages": [{**USER, "tool_calls": ["x"]}]}, "messages[0].tool_calls"),
        ({"messages": [{"role": "function", "name": "f", "tool_calls": {}}]}, "messages[0].tool_calls"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": ["Hi"]}, "messages[0]"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": {}, "content": "x"}]}, "messages[0].role"),
        ({"messages": [USER, {"content": "x"}]}, "messages[1].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "tool", "tool_call_id": "c1", "content": "x"}]}, "messages[0].tool_call_id"),
        (
            {"messages": [USER, ASKED, {"role": "tool", "tool_call_id": "c9", "content": "x"}]},
            "messages[2].tool_call_id",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "", **CALL} | {"id": ""}]}]},
            "messages[0].tool_calls[0].id",
        ),
        ({"messages": image("data:image/png;base64,%%%")}, "messages[0].content[0].image_url.url"),
        ({"messages": image("data:image/png;base64,aGVsbG8=")}, "messages[0].content[0].image_url.url"),
        ({"messages": image("file:///etc/passwd")}, "messages[0].content[0].image_url.url"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"n": 1.5}, "n"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"stop": [1]}, "stop"),
        ({"tools": [{"type": "function"}]}, "tools[0].function.name"),
        ({"tools": [{"function": {"name": "f"}}]}, "tools[0].type"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function.name"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.name"),
    ],
)
def test_the_first_thing_that_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(LLMError) as caught:
        parsed(**fields)
    error = caught.value.body()["error"]
    assert (error["param"], error["type"], caught.value.status) == (param, "invalid_request_error", 400)
    assert param in error["message"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "role", "content", "text", "function", "name", "id", "tool_calls"]), inner
        )
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(chat_request._CHECKS)), VALUES), st.lists(VALUES, max_size=3))
def test_any_body_is_a_chat_or_our_own_error(fields: dict[str, Any], messages: list[Any]) -> None:
    try:
        chat = parsed(**fields, messages=[USER, *messages])
    except LLMError as error:
        assert error.kind == "invalid_request" and error.param
    else:
        assert chat["messages"][0] == USER
