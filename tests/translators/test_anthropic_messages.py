"""OpenAI's messages as Anthropic's turns."""

import base64
from typing import Any

import pytest

from tests.translators.anthropic_types import assert_valid
from translators import anthropic
from translators.errors import LLMError
from translators.exchange import Endpoint, Json, ModelFacts
from translators.recall import text_key

PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n0000").decode()
PDF = base64.b64encode(b"%PDF-1.7 ...").decode()
BUDGET = ModelFacts(max_output_tokens=64000, thinking="budget")
MID_SYSTEM = ModelFacts(mid_system=True)
USER = {"role": "user", "content": "Hello"}


def body_of(messages: list[Json], facts: ModelFacts = BUDGET, remembered: Json | None = None, **asked: Any) -> Json:
    endpoint = Endpoint("anthropic", "https://api.example", "k", "claude-x", facts)
    body, _, dropped = anthropic.messages_body(
        {"model": "m", "messages": messages, **asked}, endpoint, remembered or {}
    )
    assert_valid(body)
    return {**body, "dropped": {lost.feature for lost in dropped}}


def turns_of(
    messages: list[Json], facts: ModelFacts = BUDGET, remembered: Json | None = None, **asked: Any
) -> list[Any]:
    """The turns, each as (role, blocks); a block of nothing but text as its text."""
    turns = body_of(messages, facts, remembered, **asked)["messages"]
    return [(turn["role"], [_short(block) for block in turn["content"]]) for turn in turns]


def _short(block: Json) -> Any:
    return block["text"] if block.keys() == {"type", "text"} else block


def user_blocks(*parts: Json) -> list[Json]:
    content: list[Json] = body_of([{"role": "user", "content": list(parts)}])["messages"][0]["content"]
    return content


def refused(messages: list[Json], facts: ModelFacts = BUDGET) -> LLMError:
    with pytest.raises(LLMError) as caught:
        body_of(messages, facts)
    assert caught.value.status == 400
    return caught.value


def calls(*ids: str, content: Any = None, arguments: str = "{}") -> Json:
    made = [{"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}} for id in ids]
    return {"role": "assistant", "content": content, "tool_calls": made}


def result(id: str, content: Any = "done", **more: Any) -> Json:
    return {"role": "tool", "tool_call_id": id, "content": content, **more}


# System messages.


def test_leading_system_and_developer_messages_are_system() -> None:
    messages = [{"role": "system", "content": "A"}, {"role": "developer", "content": "B"}, USER]
    body = body_of(messages)
    assert body["system"] == [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]
    assert len(body["messages"]) == 1


def test_a_later_one_stays_in_its_place_as_marked_text() -> None:
    messages = [USER, {"role": "assistant", "content": "Hi"}, {"role": "system", "content": "Be brief"}, USER]
    assert turns_of(messages) == [
        ("user", ["Hello"]),
        ("assistant", ["Hi"]),
        ("user", ["<system>\nBe brief\n</system>", "Hello"]),
    ]


def test_a_later_one_is_native_where_the_model_takes_it_and_it_may_stand() -> None:
    brief = {"role": "developer", "content": "Be brief"}
    assert turns_of([USER, brief], MID_SYSTEM) == [("user", ["Hello"]), ("system", ["Be brief"])]
    assert turns_of([USER, calls("a"), result("a"), brief], MID_SYSTEM)[-1] == ("system", ["Be brief"])
    after_assistant: list[Json] = [USER, {"role": "assistant", "content": "Hi"}, brief]
    assert turns_of(after_assistant, MID_SYSTEM)[-1] == ("user", ["<system>\nBe brief\n</system>"])
    before_user = [*after_assistant, USER]
    assert turns_of(before_user, MID_SYSTEM)[-1] == ("user", ["<system>\nBe brief\n</system>", "Hello"])


def test_nothing_but_system_messages_is_a_user_turn() -> None:
    assert turns_of([{"role": "system", "content": "Say hello"}]) == [("user", ["Say hello"])]


def test_an_image_in_a_system_message_is_refused() -> None:
    image = {"type": "image_url", "image_url": {"url": PNG}}
    assert refused([USER, {"role": "system", "content": [image]}]).param == "messages[1].content"


def test_nothing_at_all_is_refused() -> None:
    assert refused([{"role": "user", "content": " "}]).param == "messages"


# Turns.


def test_messages_of_one_side_are_one_turn_and_empty_ones_are_none() -> None:
    messages: list[Json] = [
        USER,
        {"role": "user", "content": ""},
        {"role": "user", "content": [{"type": "text", "text": "There"}]},
    ]
    assert turns_of(messages) == [("user", ["Hello", "There"])]


def test_parallel_results_come_together_and_first() -> None:
    messages = [USER, calls("a", "b"), result("a"), USER, result("b")]
    turns = turns_of(messages)
    assert [role for role, _ in turns] == ["user", "assistant", "user"]
    assert turns[2][1] == [
        {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "done"}]},
        {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "done"}]},
        "Hello",
    ]


def test_a_result_may_hold_images_or_nothing() -> None:
    image = {"type": "image_url", "image_url": {"url": PNG}}
    turns = turns_of([USER, calls("a", "b"), result("a", [image]), result("b", "", is_error=True)])
    shown, empty = turns[2][1]
    assert shown["content"][0]["source"]["media_type"] == "image/png"
    assert empty == {"type": "tool_result", "tool_use_id": "b", "is_error": True}


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ("", {}),
        ("{}", {}),
        ('{"a": [1]}', {"a": [1]}),
        ("[1]", {"arguments": [1]}),
        ('{"a": ', {"invalid_arguments": '{"a": '}),
    ],
)
def test_arguments_are_parsed_or_wrapped(arguments: str, sent: Json) -> None:
    assert turns_of([USER, calls("a", arguments=arguments), result("a")])[1][1][0]["input"] == sent


def test_ids_that_anthropic_refuses_are_changed_on_both_sides() -> None:
    turns = turns_of([USER, calls("functions.f:0", "functions.f_0"), result("functions.f_0"), result("functions.f:0")])
    sent = [block["id"] for block in turns[1][1]]
    assert len(set(sent)) == 2 and all("." not in id and ":" not in id for id in sent)
    assert [block["tool_use_id"] for block in turns[2][1]] == [sent[1], sent[0]]


def test_an_assistants_texts_refusals_and_custom_calls() -> None:
    said = {
        "role": "assistant",
        "content": [{"type": "text", "text": "One"}, {"type": "refusal", "refusal": "Not two"}],
        "refusal": "Nor three",
        "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "code", "input": "x = 1"}}],
    }
    blocks = turns_of([USER, said, result("c")])[1][1]
    assert blocks[:3] == ["One", "Not two", "Nor three"]
    assert blocks[3] == {"type": "tool_use", "id": "c", "name": "code", "input": {"input": "x = 1"}}


def test_a_last_assistant_message_is_carried_on_where_the_model_can() -> None:
    assert turns_of([USER, {"role": "assistant", "content": "It is \n"}])[1] == ("assistant", ["It is"])
    assert refused([USER, {"role": "assistant", "content": "It is"}], ModelFacts(prefill=False)).param == "messages"


def test_a_name_is_reported() -> None:
    assert body_of([{**USER, "name": "Ann"}])["dropped"] == {"name"}


# Parts.


def test_images_inline_and_by_url() -> None:
    inline, linked = user_blocks(
        {"type": "image_url", "image_url": {"url": PNG.replace("image/png", "image/jpeg")}},
        {
            "type": "image_url",
            "image_url": {"url": "https://example.com/a.png"},
            "cache_control": {"type": "ephemeral"},
        },
    )
    assert inline["source"]["media_type"] == "image/png"  # as the bytes show
    assert linked == {
        "type": "image",
        "source": {"type": "url", "url": "https://example.com/a.png"},
        "cache_control": {"type": "ephemeral"},
    }


def test_files() -> None:
    text = "data:text/markdown;base64," + base64.b64encode("# Tête".encode()).decode()
    blocks = user_blocks(
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF}", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_data": PDF}},
        {"type": "file", "file": {"file_data": text}},
        {"type": "file", "file": {"file_id": "file_1"}},
        {"type": "file", "file": {"file_data": PNG}},
    )
    pdf = {"type": "base64", "media_type": "application/pdf", "data": PDF}
    assert blocks[:2] == [
        {"type": "document", "source": pdf, "title": "a.pdf"},
        {"type": "document", "source": pdf},
    ]
    assert blocks[2]["source"] == {"type": "text", "media_type": "text/plain", "data": "# Tête"}
    assert blocks[3]["source"] == {"type": "file", "file_id": "file_1"}
    assert blocks[4]["type"] == "image"


def test_what_else_claude_takes_of_a_document_goes_with_it_and_the_rest_is_reported() -> None:
    fields = {"citations": {"enabled": True}, "context": "A letter", "priority": 1}
    text: Json = {"type": "text", "text": "See", "context": "none here"}
    said = [text, {"type": "file", "file": {"file_data": PDF}, **fields}]
    chat = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": said}]}
    body, _, dropped = anthropic.messages_body(chat, Endpoint("a", "https://a", "k", "claude-x", ModelFacts()))
    assert_valid(body)
    see, document = body["messages"][0]["content"]
    assert see == {"type": "text", "text": "See"}
    assert document["citations"] == {"enabled": True} and document["context"] == "A letter"
    assert {lost.feature for lost in dropped} == {"part:text.context", "part:file.priority"}


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "image_url", "image_url": {"url": "gs://bucket/a.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "file", "file": {"file_data": "data:application/zip;base64,AAAA"}},
        {"type": "file", "file": {"file_data": "data:text/plain;base64,/////w=="}},
        {"type": "file", "file": {"file_data": "no base64!"}},
    ],
)
def test_what_claude_cannot_take_is_refused_by_its_path(part: Json) -> None:
    error = refused([{"role": "user", "content": [{"type": "text", "text": "See"}, part]}])
    assert (error.param or "").startswith("messages[0].content[1]")


def test_a_model_without_eyes_refuses_images_and_pdfs() -> None:
    blind = ModelFacts(vision=False, pdf=False)
    image = {"type": "image_url", "image_url": {"url": PNG}}
    assert refused([{"role": "user", "content": [image]}], blind).param == "messages[0].content[0]"
    file = {"type": "file", "file": {"file_data": PDF}}
    assert refused([{"role": "user", "content": [file]}], blind).param == "messages[0].content[0]"


def test_cache_marks_in_either_language() -> None:
    mark = {"mode": "explicit"}
    blocks = user_blocks(
        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "text", "text": "b", "prompt_cache_breakpoint": {**mark, "ttl": "30m"}},
        {"type": "text", "text": "c", "prompt_cache_breakpoint": mark},
    )
    assert [block["cache_control"] for block in blocks] == [
        {"type": "ephemeral", "ttl": "1h"},
        {"type": "ephemeral", "ttl": "1h"},
        {"type": "ephemeral"},
    ]
    body = body_of([{"role": "system", "content": "A", "cache_control": {"type": "ephemeral"}}, USER])
    assert body["system"][0]["cache_control"] == {"type": "ephemeral"}


# Reasoning.

THOUGHT = {"type": "thinking", "thinking": "Hm", "signature": "sig"}
SECRET = {"type": "redacted_thinking", "data": "xyz"}
DETAILS = [
    {"type": "reasoning.text", "text": "Hm", "signature": "sig", "format": "anthropic-claude-v1", "index": 0},
    {"type": "reasoning.encrypted", "data": "xyz", "format": "anthropic-claude-v1", "index": 1},
]


def test_details_that_the_client_sends_back_come_first() -> None:
    messages = [USER, {**calls("a", content="Let me see"), "reasoning_details": DETAILS}, result("a")]
    blocks = turns_of(messages, reasoning_effort="low")[1][1]
    assert blocks[:3] == [THOUGHT, SECRET, "Let me see"] and blocks[3]["type"] == "tool_use"


def test_details_of_another_provider_or_unsigned_ones_do_not_go_and_are_reported() -> None:
    foreign = [{**DETAILS[0], "format": "google-gemini-v1"}, {"type": "reasoning.text", "text": "Hm"}]
    body = body_of([USER, {"role": "assistant", "content": "Hi", "reasoning_details": foreign}, USER], thinking=None)
    assert body["messages"][1]["content"] == [{"type": "text", "text": "Hi"}]
    assert body["dropped"] == {"reasoning_content"}


def test_server_tool_blocks_go_back_between_the_thoughts() -> None:
    use = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}}
    second = {**DETAILS[0], "index": 1, "block_index": 2, "text": "Aha", "signature": "sig2"}
    message = {
        "role": "assistant",
        "content": "Found",
        "reasoning_details": [{**DETAILS[0], "block_index": 0}, second],
        "server_tool_blocks": [{**use, "index": 0, "block_index": 1}],
    }
    blocks = turns_of([USER, message, USER], reasoning_effort="low")[1][1]
    assert blocks == [THOUGHT, use, {**THOUGHT, "thinking": "Aha", "signature": "sig2"}, "Found"]


def test_what_was_remembered_goes_back_in_its_place() -> None:
    later = {**THOUGHT, "signature": "sig2"}
    layout = [THOUGHT, {"text": 3}, later, {"text": 4}, {"call": "a"}, {"call": "b"}]
    messages = [USER, calls("a", "b", content="One Two"), result("a"), result("b")]
    blocks = turns_of(messages, remembered={"a": {"anthropic": layout}}, reasoning_effort="low")[1][1]
    assert blocks[:4] == [THOUGHT, "One", later, " Two"]
    assert [block["id"] for block in blocks[4:]] == ["a", "b"]


def test_what_was_remembered_goes_first_where_the_client_changed_the_message() -> None:
    layout = [{"text": 3}, THOUGHT, {"call": "a"}, {"call": "b"}]
    messages = [USER, calls("a", content="Other"), result("a")]
    blocks = turns_of(messages, remembered={"a": {"anthropic": layout}}, reasoning_effort="low")[1][1]
    assert blocks[:2] == [THOUGHT, "Other"]


def test_reasoning_before_a_text_is_found_by_the_text() -> None:
    messages = [USER, {"role": "assistant", "content": "Hi"}, USER]
    remembered = {text_key("Hi"): {"anthropic": [THOUGHT, {"text": 2}]}}
    assert turns_of(messages, remembered=remembered, reasoning_effort="low")[1][1] == [THOUGHT, "Hi"]
    assert turns_of(messages, remembered={text_key("Hi"): {"gemini": "sig"}})[1][1] == ["Hi"]


def test_no_reasoning_goes_where_thinking_is_off() -> None:
    messages = [USER, {**calls("a"), "reasoning_details": DETAILS}, result("a")]
    body = body_of(messages, reasoning_effort="none")
    assert [block["type"] for block in body["messages"][1]["content"]] == ["tool_use"]
    assert body["dropped"] == {"reasoning_details"}
    assert turns_of(messages)[1][1][0]["type"] == "tool_use"  # a budget model that was not asked to think


def test_a_budget_gives_way_where_the_open_turns_reasoning_is_lost() -> None:
    messages = [USER, calls("a"), result("a")]
    body = body_of(messages, reasoning_effort="high")
    assert "thinking" not in body and body["dropped"] == {"reasoning_effort"}
    adaptive = ModelFacts(thinking="adaptive", efforts=("low", "high"))
    assert body_of(messages, adaptive, reasoning_effort="high")["thinking"]["type"] == "adaptive"
    assert "thinking" in body_of([*messages, {"role": "assistant", "content": "Ok"}, USER], reasoning_effort="high")
