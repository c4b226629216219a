import base64
from dataclasses import replace
from typing import Any

import pytest

from tests.translators.gemini_types import assert_valid
from translators import gemini_turns, recall
from translators.errors import LLMError
from translators.exchange import Endpoint, Media, ModelFacts
from translators.gemini_tools import wire_names

Json = dict[str, Any]
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
FACTS = ModelFacts(thinking="budget", audio=True, video=True)
HOST = "https://generativelanguage.googleapis.com"
ENDPOINT = Endpoint("gemini", HOST, "k", "m", FACTS)
LEVEL = replace(ENDPOINT, facts=replace(FACTS, thinking="level"))


def turns(
    *messages: Json, endpoint: Endpoint = ENDPOINT, media: Any = None, remembered: Any = None
) -> gemini_turns.Turns:
    chat = {"messages": list(messages)}
    made = gemini_turns.turns(chat, endpoint, media or {}, remembered or {}, wire_names(chat), frozenset())
    assert_valid({"contents": made.contents})
    return made


def user(*parts: Json | str) -> Json:
    said = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return {"role": "user", "content": said}


def called(*ids: str, **more: Any) -> Json:
    calls = [{"id": id, "type": "function", "function": {"name": f"f{id}", "arguments": '{"a":1}'}} for id in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls, **more}


def result(id: str, content: Any = "ok") -> Json:
    return {"role": "tool", "tool_call_id": id, "content": content}


def test_leading_instructions_go_apart_and_later_ones_stay_in_place() -> None:
    made = turns(
        {"role": "system", "content": "a"},
        {"role": "developer", "content": [{"type": "text", "text": "b"}]},
        {"role": "user", "content": "hi"},
        {"role": "system", "content": "later"},
        {"role": "assistant", "content": "yes"},
    )
    assert made.system == [{"text": "a"}, {"text": "b"}]
    assert made.contents == [
        {"role": "user", "parts": [{"text": "hi"}, {"text": "<system>\nlater\n</system>"}]},
        {"role": "model", "parts": [{"text": "yes"}]},
    ]


def test_instructions_alone_are_said_by_the_user() -> None:
    assert turns({"role": "system", "content": "a"}).contents == [{"role": "user", "parts": [{"text": "a"}]}]


def test_parallel_results_stand_in_the_order_of_their_calls() -> None:
    made = turns(
        user("q"), called("1", "2"), result("2", '{"b":2}'), result("1", "plain"), {"role": "user", "content": "?"}
    )
    assert made.contents[2]["parts"] == [
        {"functionResponse": {"id": "1", "name": "f1", "response": {"output": "plain"}}},
        {"functionResponse": {"id": "2", "name": "f2", "response": {"b": 2}}},
        {"text": "?"},
    ]


def test_an_image_in_a_result_goes_within_it_or_beside_it() -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    said = (user("q"), called("1"), result("1", [{"type": "text", "text": "see"}, image]))
    inline = {"inlineData": {"mimeType": "image/png", "data": PNG}}
    (within,) = turns(*said, endpoint=LEVEL).contents[2]["parts"]
    assert within["functionResponse"]["parts"] == [inline]
    assert turns(*said).contents[2]["parts"][1] == inline


def test_deprecated_function_messages() -> None:
    made = turns(
        user("q"),
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "7"},
    )
    assert made.contents[1]["parts"] == [{"functionCall": {"name": "f", "args": {}}}]
    assert made.contents[2]["parts"] == [{"functionResponse": {"name": "f", "response": {"output": "7"}}}]


@pytest.mark.parametrize(
    ("arguments", "args"),
    [("", {}), ("{}", {}), ('{"a":[1]}', {"a": [1]}), ("{broken", {"arguments": "{broken"}), ("3", {"arguments": "3"})],
)
def test_arguments_become_an_object(arguments: str, args: Json) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    made = turns(user("q"), {"role": "assistant", "content": "", "tool_calls": [call]})
    assert made.contents[1]["parts"][0]["functionCall"]["args"] == args


def test_a_custom_call_goes_back_as_it_came() -> None:
    call = {"id": "1", "type": "custom", "custom": {"name": "sh", "input": "ls"}}
    made = turns(user("q"), {"role": "assistant", "content": None, "tool_calls": [call]}, result("1"))
    assert made.contents[1]["parts"][0]["functionCall"] == {"id": "1", "name": "sh", "args": {"input": "ls"}}


SIGNED = "U2lnbmVk"


@pytest.mark.parametrize(
    ("more", "remembered"),
    [
        (
            {
                "reasoning_details": [
                    {"type": "reasoning.encrypted", "data": SIGNED, "id": "1", "format": "google-gemini-v1"}
                ]
            },
            {},
        ),
        ({"reasoning_details": [{"type": "reasoning.encrypted", "data": SIGNED, "index": 0}]}, {}),
        ({}, {"1": {"signature": SIGNED}}),
    ],
    ids=["by id", "without id", "remembered"],
)
def test_a_signature_goes_back_on_its_call_and_on_no_other(more: Json, remembered: Json) -> None:
    made = turns(user("q"), called("1", "2", **more), result("1"), result("2"), endpoint=LEVEL, remembered=remembered)
    first, second = made.contents[1]["parts"]
    assert first["thoughtSignature"] == SIGNED
    assert "thoughtSignature" not in second


def test_googles_own_place_for_a_signature() -> None:
    message = called("1")
    message["tool_calls"][0]["extra_content"] = {"google": {"thought_signature": SIGNED}}
    assert turns(user("q"), message).contents[1]["parts"][0]["thoughtSignature"] == SIGNED


def test_a_call_without_any_signature_gets_the_documented_stand_in_where_one_is_demanded() -> None:
    said = (user("q"), called("1", "2"), result("1"), result("2"))
    first, second = turns(*said, endpoint=LEVEL).contents[1]["parts"]
    assert base64.b64decode(first["thoughtSignature"]) == b"skip_thought_signature_validator"
    assert "thoughtSignature" not in second
    assert not any("thoughtSignature" in part for part in turns(*said).contents[1]["parts"])


def test_the_signature_of_a_text_goes_back_on_the_text() -> None:
    said = {"role": "assistant", "content": "Hello"}
    key = recall.text_key("Hello")
    made = turns(user("q"), said, user("?"), remembered={key: {"text_signature": SIGNED}})
    assert made.contents[1]["parts"] == [{"text": "Hello", "thoughtSignature": SIGNED}]
    details = [{"type": "reasoning.text", "text": "t"}, {"type": "reasoning.encrypted", "data": SIGNED}]
    assert turns(user("q"), {**said, "reasoning_details": details}, user("?")).contents == made.contents


def test_another_providers_reasoning_is_left_out_and_said() -> None:
    details = [{"type": "reasoning.text", "text": "t", "signature": "s", "format": "anthropic-claude-v1"}]
    made = turns(user("q"), {"role": "assistant", "content": "a", "reasoning_details": details}, user("?"))
    assert made.contents[1]["parts"] == [{"text": "a"}]
    assert [each.feature for each in made.dropped] == ["messages[].reasoning_details"]
    made = turns(user("q"), {"role": "assistant", "content": "a", "reasoning_content": "t"}, user("?"))
    assert [each.feature for each in made.dropped] == ["messages[].reasoning_content"]


def test_what_our_own_answer_held_goes_back() -> None:
    block = {"index": 0, "type": "executable_code", "executableCode": {"code": "1", "language": "PYTHON"}}
    image = {
        "index": 0,
        "type": "image_url",
        "image_url": {"url": f"data:image/png;base64,{PNG}"},
        "thought_signature": SIGNED,
    }
    said = {"role": "assistant", "content": "see", "server_tool_blocks": [block], "images": [image]}
    assert turns(user("q"), said, user("?")).contents[1]["parts"] == [
        {"executableCode": {"code": "1", "language": "PYTHON"}},
        {"text": "see"},
        {"inlineData": {"mimeType": "image/png", "data": PNG}, "thoughtSignature": SIGNED},
    ]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{PNG}"}},  # the bytes know better
            {"inlineData": {"mimeType": "image/png", "data": PNG}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://youtu.be/x"}},
            {"fileData": {"fileUri": "https://youtu.be/x", "mimeType": "video/mp4"}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "gs://b/a.jpg"}},
            {"fileData": {"fileUri": "gs://b/a.jpg", "mimeType": "image/jpeg"}},
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}},
        ),
        (
            {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}},
            {"inlineData": {"mimeType": "video/mp4", "data": "AAAA"}},
        ),
        (
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}},
            {"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}},
        ),
        (
            {"type": "file", "file": {"file_data": "AAAA", "filename": "a.csv"}},
            {"inlineData": {"mimeType": "text/csv", "data": "AAAA"}},
        ),
        ({"type": "file", "file": {"file_id": "files/abc"}}, {"fileData": {"fileUri": f"{HOST}/v1beta/files/abc"}}),
    ],
)
def test_media(part: Json, expected: Json) -> None:
    assert turns(user(part)).contents[0]["parts"] == [expected]


def test_a_web_image_is_fetched_for_gemini() -> None:
    url = "https://example.com/a.png"
    part = {"type": "image_url", "image_url": {"url": url}}
    chat = {"messages": [user(part, {"type": "image_url", "image_url": {"url": "https://youtu.be/x"}})]}
    assert list(gemini_turns.fetched_urls(chat, ENDPOINT)) == [url]
    fetched = Media("image/png; charset=x", base64.b64decode(PNG))
    made = turns(user(part), media={url: fetched})
    assert made.contents[0]["parts"] == [{"inlineData": {"mimeType": "image/png", "data": PNG}}]
    with pytest.raises(LLMError) as caught:
        turns(user(part))
    assert caught.value.param == "messages[0].content[0].image_url.url"


@pytest.mark.parametrize(
    "part",
    [
        {"type": "file", "file": {"file_id": "file-abc"}},
        {"type": "video_url", "video_url": {}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "file", "file": {"file_data": "%%"}},
    ],
)
def test_what_cannot_be_sent_is_refused_by_name(part: Json) -> None:
    with pytest.raises(LLMError) as caught:
        turns(user(part))
    assert caught.value.kind == "invalid_request" and caught.value.param


def test_a_model_that_reads_no_pdf() -> None:
    with pytest.raises(LLMError):
        turns(
            user({"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}}),
            endpoint=replace(ENDPOINT, facts=replace(FACTS, pdf=False)),
        )


def test_fields_without_a_word_are_reported_once() -> None:
    said = {"role": "user", "name": "ann", "content": [{"type": "text", "text": "a", "cache_control": {"type": "x"}}]}
    made = turns(said, said, user({"type": "image_url", "image_url": {"url": "gs://b/a.jpg", "detail": "low"}}))
    assert [each.feature for each in made.dropped] == [
        "messages[].name",
        "part:text.cache_control",
        "part:image_url.detail",
    ]


def test_a_model_that_cannot_carry_on() -> None:
    endpoint = replace(ENDPOINT, facts=replace(FACTS, prefill=False))
    said = (user("q"), {"role": "assistant", "content": "I"})
    with pytest.raises(LLMError):
        turns(*said, endpoint=endpoint)
    assert turns(*said, endpoint=replace(endpoint, unsupported="report")).dropped[0].feature == "prefill"


def test_an_empty_assistant_message_is_no_turn() -> None:
    assert len(turns(user("a"), {"role": "assistant", "content": ""}, user("b")).contents) == 1


def test_a_refusal_is_what_the_model_said() -> None:
    made = turns(user("q"), {"role": "assistant", "content": None, "refusal": "No."}, user("?"))
    assert made.contents[1]["parts"] == [{"text": "No."}]


@pytest.mark.parametrize("odd", ["x", 3, [1], [{"image_url": 2}], {"a": 1}])
def test_odd_extensions_never_break_a_request(odd: Any) -> None:
    message = {"role": "assistant", "content": "a", "reasoning_details": odd, "server_tool_blocks": odd}
    turns(user("q"), message, user("?"))
    call = called("1")
    call["tool_calls"][0]["extra_content"] = odd
    turns(user("q"), call, result("1"), remembered={"1": odd})


def test_empty_texts_which_google_refuses_are_left_out() -> None:
    made = turns(
        {"role": "system", "content": ""},
        user("Hi"),
        {"role": "user", "content": ""},
        {"role": "system", "content": [{"type": "text", "text": ""}]},
        {"role": "user", "content": [{"type": "text", "text": ""}, {"type": "text", "text": "there"}]},
        called("c"),
        result("c", ""),
    )
    assert made.system == []
    assert made.contents[0] == {"role": "user", "parts": [{"text": "Hi"}, {"text": "there"}]}
    assert made.contents[-1]["parts"][0]["functionResponse"]["response"] == {"output": ""}
    with pytest.raises(LLMError, match="nothing in them"):
        turns({"role": "system", "content": ""})
