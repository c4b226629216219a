import base64
import json
from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from bench import answers
from tests.recorded import gemini as said_by
from tests.replay import FIXTURES, body_of, recording
from translators import gemini_answer, gemini_candidate, recall
from translators.errors import LLMError
from translators.exchange import Answer, Context
from translators.usage import Usage

Json = dict[str, Any]
CONTEXT = Context(model="asked-for", include_usage=True)


def recorded(name: str) -> list[Json]:
    rows = [json.loads(line) for line in (FIXTURES / f"{name}.jsonl").read_text().splitlines()]
    return [row for row in rows if row["response"]["status"] == 200]


WHOLE = recorded("gemini.generateContent") + recorded("vertex.generateContent")
STREAMS = recorded("gemini.streamGenerateContent") + recorded("vertex.streamGenerateContent")
by_id: Callable[[Json], str] = lambda row: str(row["id"])  # noqa: E731 - for the parameters' ids


def whole(*candidates: Json, context: Context = CONTEXT, **more: Any) -> tuple[Json, Answer]:
    body = json.dumps({"candidates": list(candidates), "responseId": "r", **more}).encode()
    answer = gemini_answer.response(body, context, 7, "req")
    ChatCompletion.model_validate_json(answer.body)
    return json.loads(answer.body), answer


def events(*chunks: Json) -> bytes:
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n" for chunk in chunks)


def parts(*made: Json, **candidate: Any) -> Json:
    return {"candidates": [{"content": {"role": "model", "parts": list(made)}, "index": 0, **candidate}]}


def decoded(body: bytes, size: int | None = None, context: Context = CONTEXT) -> tuple[list[bytes], Any]:
    decoder = gemini_answer.Decoder(context, 7, "req")
    step = size or max(len(body), 1)
    frames = [frame for at in range(0, len(body), step) for frame in decoder.feed(body[at : at + step])]
    return frames + decoder.close(), decoder


def rebuilt(frames: list[bytes]) -> Json:
    """The message that the SDK's accumulator makes of the first choice, with its finish_reason."""
    state = ChatCompletionStreamState()
    for frame in frames:
        state.handle_chunk(ChatCompletionChunk.model_validate_json(frame.removeprefix(b"data: ")))
    choice = state.current_completion_snapshot.choices[0]
    return {**choice.message.to_dict(mode="json"), "finish_reason": choice.finish_reason}


def meaning(message: Json) -> Json:
    """A message without what only says where a list's entry stands, and without what is empty."""
    if isinstance(message, dict):
        return {key: meaning(value) for key, value in message.items() if key != "index" and value}
    return [meaning(each) for each in message] if isinstance(message, list) else message


@pytest.mark.parametrize("row", WHOLE, ids=by_id)
def test_a_recorded_answer_says_the_same(row: Json) -> None:
    body, said = body_of(row), said_by(body_of(row))
    answer = gemini_answer.response(body, CONTEXT, 7, "req")
    made = ChatCompletion.model_validate_json(answer.body)
    assert len(made.choices) == len(said.choices)
    for choice in made.choices:
        there = said.choices[choice.index]
        assert choice.message.content == there.text or not (choice.message.content or there.text)
        assert getattr(choice.message, "reasoning_content", "") == there.reasoning
        functions = [call.function for call in choice.message.tool_calls or () if call.type == "function"]
        calls = [(function.name, json.loads(function.arguments)) for function in functions]
        assert calls == [(call.name, call.arguments) for call in there.calls]
    assert answer.usage.prompt_tokens == said.prompt_tokens
    assert answer.usage.completion_tokens == said.completion_tokens
    assert (made.model, made.created) == (json.loads(body).get("modelVersion", "asked-for"), 7)


@pytest.mark.parametrize("row", STREAMS, ids=by_id)
def test_a_recorded_stream_is_the_same_however_it_is_cut(row: Json) -> None:
    body = body_of(row)
    frames, decoder = decoded(body)
    for size in (1, 7):
        others, other = decoded(body, size)
        assert b"".join(others) == b"".join(frames)
        assert (other.usage, other.remember, other.output_bytes) == (
            decoder.usage,
            decoder.remember,
            decoder.output_bytes,
        )
    lf = body.replace(b"\r\n", b"\n")
    assert decoded(lf)[0] == decoded(lf.replace(b"\n", b"\r\n"), 5)[0] == frames


@pytest.mark.parametrize("row", STREAMS, ids=by_id)
def test_a_recorded_stream_rebuilds_to_what_was_said(row: Json) -> None:
    body = body_of(row)
    text = body.decode()
    said = said_by(body)
    frames, decoder = decoded(body)
    message = rebuilt(frames)
    assert (message["content"] or "") == said.choices[0].text
    assert message.get("reasoning_content", "") == said.choices[0].reasoning
    for signature in text.split('"thoughtSignature"')[1:]:
        assert signature.split('"')[1] in json.dumps(message)
    if row["id"] != "444199567585":  # its arguments come one by one: below
        calls = [
            (call["function"]["name"], json.loads(call["function"]["arguments"]))
            for call in message.get("tool_calls") or ()
        ]
        assert calls == [(call.name, call.arguments) for call in said.choices[0].calls]
    assert decoder.usage.prompt_tokens == said.prompt_tokens
    assert decoder.usage.completion_tokens == said.completion_tokens
    assert (decoder.started and decoder.output_bytes > 0) or not said.choices[0].text
    last = json.loads(frames[-1].removeprefix(b"data: "))
    assert last["choices"] == [] and last["usage"]["prompt_tokens"] == said.prompt_tokens


@pytest.mark.parametrize("row", STREAMS, ids=by_id)
def test_a_recorded_stream_that_breaks_off_is_no_answer(row: Json) -> None:
    body = body_of(row)
    end = body.index(b'"finishReason"')
    for cut in {end, end // 2, end // 3}:
        with pytest.raises(LLMError) as caught:
            decoded(body[:cut])
        assert caught.value.kind == "bad_upstream"


@pytest.mark.parametrize("row", WHOLE, ids=by_id)
def test_whole_and_streamed_say_the_same(row: Json) -> None:
    said = json.loads(body_of(row))
    frames, decoder = decoded(events(said))
    answer = gemini_answer.response(body_of(row), CONTEXT, 7, "req")
    choice = json.loads(answer.body)["choices"][0]
    once = {**choice["message"], "finish_reason": choice["finish_reason"]}
    assert meaning(rebuilt(frames)) == meaning(once)
    assert (decoder.usage, decoder.remember) == (answer.usage, answer.remember)


def test_arguments_that_come_one_by_one() -> None:
    frames, decoder = decoded(body_of(recording("vertex.streamGenerateContent", "444199567585")))
    message = rebuilt(frames)
    calls = [(call["function"]["name"], call["function"]["arguments"]) for call in message["tool_calls"]]
    assert calls == [
        ("read_theme", "{}"),
        ("read_screen", '{"id":"A"}'),
        ("read_screen", '{"id":"B"}'),
        ("read_screen", '{"id":"C"}'),
    ]
    ids = [call["id"] for call in message["tool_calls"]]
    assert ids == [f"call_req_{at}" for at in range(4)]
    assert list(decoder.remember) == ids[:1]  # only the first of parallel calls is signed
    assert message["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("native", "call", "expected"),
    [
        ("STOP", False, "stop"),
        ("STOP", True, "tool_calls"),
        ("UNEXPECTED_TOOL_CALL", True, "tool_calls"),
        ("UNEXPECTED_TOOL_CALL", False, "stop"),
        ("MAX_TOKENS", True, "length"),
        ("SAFETY", False, "content_filter"),
        ("MALFORMED_FUNCTION_CALL", False, "stop"),
        ("A_NEW_ONE", False, "stop"),
    ],
)
def test_finish(native: str, call: bool, expected: str) -> None:
    content = {"parts": [{"functionCall": {"name": "f"}}] if call else []}
    made, _ = whole({"content": content, "finishReason": native, "finishMessage": "why"})
    choice = made["choices"][0]
    assert (choice["finish_reason"], choice["native_finish_reason"]) == (expected, native)
    assert choice["message"]["native_finish_message"] == "why"


def test_a_blocked_prompt_is_a_filtered_choice_whole_and_streamed() -> None:
    feedback = {"blockReason": "PROHIBITED_CONTENT"}
    made, _ = whole(promptFeedback=feedback)
    choice = made["choices"][0]
    assert (choice["finish_reason"], choice["native_finish_reason"]) == ("content_filter", "PROHIBITED_CONTENT")
    assert choice["message"]["content"] == ""
    frames, _ = decoded(events({"promptFeedback": feedback, "usageMetadata": {"promptTokenCount": 3}}))
    assert rebuilt(frames)["finish_reason"] == "content_filter"


def test_safety_ratings_of_a_prompt_end_no_stream() -> None:
    chunk = {**parts({"text": "a"}), "promptFeedback": {"safetyRatings": [{"category": "c"}]}}
    with pytest.raises(LLMError):
        decoded(events(chunk))


def test_a_finish_that_is_not_on_the_last_chunk() -> None:
    frames, decoder = decoded(
        events(
            parts({"text": "a"}, finishReason="STOP"),
            parts({"text": "b"}),
            {"usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2}},
        )
    )
    assert rebuilt(frames)["content"] == "ab"
    assert sum(b'"finish_reason":"stop"' in frame for frame in frames) == 1
    assert decoder.usage.output_tokens == 2


def test_an_event_without_its_blank_line_counts() -> None:
    assert rebuilt(decoded(events(parts({"text": "a"}, finishReason="STOP")).rstrip())[0])["content"] == "a"


def test_each_choice_has_its_own_finish() -> None:
    second = {"content": {"parts": [{"text": "b"}, {"functionCall": {"name": "f"}}]}, "index": 1}
    chunk = parts({"text": "a"}, finishReason="STOP")
    with pytest.raises(LLMError):
        decoded(events({"candidates": [*chunk["candidates"], second]}))
    frames, _ = decoded(events({"candidates": [*chunk["candidates"], {**second, "finishReason": "STOP"}]}))
    assert b'"index":1,"delta":{},"logprobs":null,"finish_reason":"tool_calls"' in b"".join(frames)


@pytest.mark.parametrize(
    "body",
    [
        events({"error": {"code": 503, "message": "overloaded now", "status": "UNAVAILABLE"}}),
        b'[{"error":{"code":503,"message":"overloaded now","status":"UNAVAILABLE"}}]',
        b'{"error":{"code":503,"message":"overloaded now","status":"UNAVAILABLE"}}',
    ],
)
def test_an_error_within_a_200_is_an_error(body: bytes) -> None:
    with pytest.raises(LLMError) as caught:
        decoded(body, 3)
    assert (caught.value.kind, caught.value.message) == ("overloaded", "overloaded now")
    if not body.startswith(b"data"):
        with pytest.raises(LLMError):
            gemini_answer.response(body, CONTEXT, 7, "req")


def test_what_came_before_an_error_goes_out_first() -> None:
    body = events(parts({"text": "Hel"}), {"error": {"code": 500, "message": "no"}})
    decoder = gemini_answer.Decoder(CONTEXT, 7, "req")
    assert b"Hel" in b"".join(decoder.feed(body))
    with pytest.raises(LLMError, match="no"):
        decoder.close()


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b"17", b"[]", b"{}", b'{"candidates":[]}', b"data: x\n\n"])
def test_what_is_no_answer_is_the_providers_fault(body: bytes) -> None:
    for read in (lambda: decoded(body), lambda: gemini_answer.response(body, CONTEXT, 7, "req")):
        with pytest.raises(LLMError) as caught:
            read()
        assert caught.value.kind == "bad_upstream"


COUNTS = {"promptTokenCount": 5, "candidatesTokenCount": 7, "totalTokenCount": 12}
USED = Usage(input_tokens=5, output_tokens=7)


@pytest.mark.parametrize(
    ("told", "used"), [({"usageMetadata": COUNTS}, USED), ({"usageMetadata": {}}, None), ({}, None)]
)
def test_what_was_used_for_no_answer_is_known(told: Json, used: Usage | None) -> None:
    with pytest.raises(LLMError) as caught:
        gemini_answer.response(json.dumps(told).encode(), CONTEXT, 7, "req")
    assert caught.value.usage == used


def deepened(said: Any, levels: int) -> bytes:
    """`said` with so many levels for each "deep": orjson reads 1024 and writes 254, Python looks at 1000."""
    return json.dumps(said).encode().replace(b'"deep"', b'{"a":' * levels + b"1" + b"}" * levels)


@pytest.mark.parametrize(
    ("levels", "candidates", "more"),
    [
        *(
            (levels, [candidate], {})
            for levels in (300, 1000)
            for candidate in (
                {"content": {"parts": [{"functionCall": {"name": "f", "args": "deep"}}]}},
                {"content": {"parts": [{"functionCall": {"name": "json_answer", "args": "deep"}}]}},
                {"content": {"parts": [{"hologram": "deep"}]}},
                {"groundingMetadata": "deep"},
            )
        ),
        (1000, [{"groundingMetadata": "deep"}] * 2, {}),  # each joined to the other
        (1000, [{"finishReason": "deep"}], {}),
        (1000, [{"finishReason": "MAX_TOKENS", "logprobsResult": {"chosenCandidates": [{"token": "deep"}]}}], {}),
        (1000, [{}], {"promptFeedback": {"blockReason": "deep"}}),
    ],
)
def test_what_is_too_deep_is_an_error_behind_what_came_before_it(
    levels: int, candidates: list[Json], more: Json
) -> None:
    context = Context(json_tool="json_answer")
    said = {"candidates": [{"index": 0, "finishReason": "STOP", **each} for each in candidates], **more}
    told = deepened({**said, "usageMetadata": COUNTS}, levels)
    with pytest.raises(LLMError, match="nested") as caught:
        gemini_answer.response(told, context, 7, "req")
    assert (caught.value.kind, caught.value.usage) == ("bad_upstream", USED)
    stream = events(parts({"text": "Hel"})) + b"data: " + told + b"\r\n\r\n"
    for size in (100, len(stream)):
        decoder, frames = gemini_answer.Decoder(context, 7, "req"), list[bytes]()
        with pytest.raises(LLMError, match="nested") as caught:
            for at in range(0, len(stream), size):
                frames += decoder.feed(stream[at : at + size])
            decoder.close()
        assert caught.value.kind == "bad_upstream" and b'"content":"Hel"' in frames[0]
        assert (decoder.usage, decoder.started, decoder.output_bytes) == (USED, True, 3)


def test_an_answer_too_deep_is_an_answer_where_nothing_was_counted_too() -> None:
    said = {"candidates": [{"groundingMetadata": "deep", "finishReason": "STOP"}]}
    with pytest.raises(LLMError) as caught:
        gemini_answer.response(deepened(said, 300), CONTEXT, 7, "req")
    assert caught.value.usage == Usage()


def test_a_block_whose_reason_is_too_deep_to_be_looked_at_is_a_block() -> None:
    told = deepened({"promptFeedback": {"blockReason": "deep"}}, 1000)
    frames, _ = decoded(events(parts({"text": "Hel"})) + b"data: " + told + b"\r\n\r\n")
    message = rebuilt(frames)
    assert (message["content"], message["finish_reason"]) == ("Hel", "content_filter")


def test_an_event_too_deep_to_be_compared_is_no_pattern() -> None:
    piece = _PIECE.replace(b'"usageMetadata"', b'"x": ' + deepened("deep", 1010) + b',"usageMetadata"')
    _told_as_parsed([piece, piece, _PIECE], [])


def test_the_clients_names_come_back_and_so_do_custom_tools() -> None:
    context = Context(tool_names={"a_b": "a b"}, custom_tools=frozenset({"shell"}))
    calls = [{"name": "a_b", "id": "x1", "args": {"q": 1}}, {"name": "shell", "args": {"input": "ls"}}]
    made, _ = whole(
        {"content": {"parts": [{"functionCall": call} for call in calls]}, "finishReason": "STOP"}, context=context
    )
    assert made["choices"][0]["message"]["tool_calls"] == [
        {"id": "x1", "type": "function", "function": {"name": "a b", "arguments": '{"q":1}'}},
        {"id": "call_req_1", "type": "custom", "custom": {"name": "shell", "input": "ls"}},
    ]


def test_the_json_tool_is_the_content() -> None:
    context = Context(json_tool="json_answer")
    call = {"functionCall": {"name": "json_answer", "args": {"a": "é"}}}
    made, _ = whole({"content": {"parts": [call]}, "finishReason": "STOP"}, context=context)
    choice = made["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ('{"a":"é"}', "stop")
    assert "tool_calls" not in choice["message"]


def test_signatures_are_told_and_remembered_on_their_own_parts() -> None:
    said = parts(
        {"text": "think", "thought": True},
        {"text": "Hello"},
        {"text": "", "thoughtSignature": "VGV4dA=="},
        {"functionCall": {"name": "f", "id": "c1"}, "thoughtSignature": "Q2FsbA=="},
        {"functionCall": {"name": "g", "id": "c2"}},
        finishReason="STOP",
    )
    frames, decoder = decoded(events(said))
    message = rebuilt(frames)
    assert message["reasoning_content"] == "think"
    assert [
        {key: detail.get(key) for key in ("type", "data", "id", "format")} for detail in message["reasoning_details"]
    ] == [
        {"type": "reasoning.text", "data": None, "id": None, "format": "google-gemini-v1"},
        {"type": "reasoning.encrypted", "data": "VGV4dA==", "id": None, "format": "google-gemini-v1"},
        {"type": "reasoning.encrypted", "data": "Q2FsbA==", "id": "c1", "format": "google-gemini-v1"},
    ]
    assert decoder.remember == {"c1": {"signature": "Q2FsbA==", "text_signature": "VGV4dA=="}}


def test_the_signature_of_an_answer_without_calls_is_remembered_by_its_text() -> None:
    chunks = (
        parts({"text": "Hel"}),
        parts({"text": "lo"}),
        parts({"text": "", "thoughtSignature": "U2ln"}, finishReason="STOP"),
    )
    _, decoder = decoded(events(*chunks))
    assert decoder.remember == {recall.text_key("Hello"): {"text_signature": "U2ln"}}


def test_images_and_audio_come_out() -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": "eHl6"}}
    frames, _ = decoded(events(parts(image), parts(image, finishReason="STOP")))
    assert [each["image_url"]["url"] for each in rebuilt(frames)["images"]] == ["data:image/png;base64,eHl6"] * 2
    pieces = [b"ab", b"cdef", b"g"]
    audio = [
        {"inlineData": {"mimeType": "audio/L16;rate=24000", "data": base64.b64encode(each).decode()}} for each in pieces
    ]
    frames, _ = decoded(events(*(parts(each) for each in audio), parts(finishReason="STOP")))
    heard = rebuilt(frames)["audio"]
    assert base64.b64decode(heard["data"]) == b"abcdefg"
    assert heard["expires_at"] == 7
    made, _ = whole({"content": {"parts": audio}, "finishReason": "STOP"})
    assert base64.b64decode(made["choices"][0]["message"]["audio"]["data"]) == b"abcdefg"


def test_what_is_spoken_is_the_transcript() -> None:
    spoken = [{"text": "Hel"}, {"finished": True}, {"text": "lo"}]
    audio = [{"inlineData": {"mimeType": "audio/L16", "data": "eHl6"}, "audioTranscription": each} for each in spoken]
    made, _ = whole({"content": {"parts": audio}, "finishReason": "STOP"})
    frames, _ = decoded(events(*(parts(each) for each in audio), parts(finishReason="STOP")))
    for message in (made["choices"][0]["message"], rebuilt(frames)):
        assert (message["audio"]["transcript"], message["audio"]["data"]) == ("Hello", "eHl6" * 3)


def test_code_that_google_ran_is_kept_and_is_no_call() -> None:
    message = rebuilt(decoded(body_of(recording("gemini.streamGenerateContent", "a11e399be5ac")))[0])
    kinds = [block["type"] for block in message["server_tool_blocks"]]
    assert kinds == ["executable_code", "code_execution_result"]
    assert message["server_tool_blocks"][0]["thoughtSignature"]
    assert not message.get("tool_calls") and message["finish_reason"] == "stop"


def test_a_part_nobody_knows_is_kept() -> None:
    made, _ = whole({"content": {"parts": [{"hologram": {"a": 1}}]}, "finishReason": "STOP"})
    assert made["choices"][0]["message"]["server_tool_blocks"] == [
        {"index": 0, "type": "hologram", "hologram": {"a": 1}}
    ]


@pytest.mark.parametrize(
    ("grounding", "searches"),
    [
        ({"webSearchQueries": ["a", "", "b", "a", None, 5], "imageSearchQueries": ["a"]}, (3, 0)),
        ({"groundingChunks": [{"web": {"uri": "u"}}, {"maps": {"uri": "m"}}, {"maps": {"uri": "n"}}]}, (0, 1)),
        ({"webSearchQueries": "a", "groundingChunks": [None, 5, "maps"]}, (0, 0)),
    ],
)
def test_each_query_counts_once_and_places_of_a_map_once_an_answer(grounding: Json, searches: tuple[int, int]) -> None:
    candidate = {"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP", "groundingMetadata": grounding}
    _, answer = whole(candidate)
    _, decoder = decoded(events({"candidates": [candidate]}))
    for usage in (answer.usage, decoder.usage):
        assert (usage.web_searches, usage.map_searches) == searches


def test_sources_have_their_place_in_characters() -> None:
    text = "Größe: 5. Ende"
    at = text.encode().index(b"5")
    grounding = {
        "webSearchQueries": ["how big", ""],
        "groundingChunks": [{"web": {"uri": "https://a", "title": "A"}}],
        "groundingSupports": [{"segment": {"startIndex": at, "endIndex": at + 2}, "groundingChunkIndices": [0, 9]}],
    }
    made, answer = whole(
        {"content": {"parts": [{"text": text}]}, "finishReason": "STOP", "groundingMetadata": grounding}
    )
    message = made["choices"][0]["message"]
    (note,) = message["annotations"]
    cited = note["url_citation"]
    assert text[cited["start_index"] : cited["end_index"]] == "5."
    assert (cited["url"], cited["title"]) == ("https://a", "A")
    assert message["grounding_metadata"] == grounding
    assert answer.usage.web_searches == 1


def test_recorded_sources_stand_where_google_says() -> None:
    for row in (
        recording("gemini.generateContent", "b6a40a12c0ab"),
        recording("gemini.streamGenerateContent", "239924341a02"),
    ):
        body = body_of(row)
        message = rebuilt(decoded(body if row["stream"] else events(json.loads(body)))[0])
        marked = {support["segment"]["text"] for support in message["grounding_metadata"]["groundingSupports"]}
        cited = [note["url_citation"] for note in message["annotations"]]
        assert cited and {message["content"][each["start_index"] : each["end_index"]] for each in cited} <= marked


def test_logprobs_have_openais_shape() -> None:
    body = body_of(recording("vertex.generateContent", "3f65b2ac3b0c"))
    choice = ChatCompletion.model_validate_json(gemini_answer.response(body, CONTEXT, 7, "req").body).choices[0]
    assert choice.logprobs is not None and choice.logprobs.content is not None
    token = choice.logprobs.content[0]
    assert (token.token, token.bytes, [other.token for other in token.top_logprobs]) == (
        "Hello",
        list(b"Hello"),
        ["Hello", '"'],
    )
    frames, _ = decoded(events(json.loads(body)))
    assert sum(b'"logprobs":{"content"' in frame for frame in frames) == 1


def test_no_usage_chunk_and_no_name_that_was_not_asked_for() -> None:
    frames, decoder = decoded(events(parts({"text": "a"}, finishReason="STOP")), context=Context(model="m"))
    assert not any(b'"usage"' in frame for frame in frames)
    assert b'"id":"chatcmpl-req"' in frames[0] and b'"model":"m"' in frames[0]
    assert decoder.remember == {}


_KEYS = [
    *("candidates", "content", "parts", "text", "thought", "thoughtSignature", "functionCall", "name", "args", "index"),
    *(
        "partialArgs",
        "jsonPath",
        "stringValue",
        "willContinue",
        "inlineData",
        "mimeType",
        "data",
        "finishReason",
        "error",
    ),
    *(
        "groundingMetadata",
        "groundingSupports",
        "groundingChunks",
        "usageMetadata",
        "promptFeedback",
        "blockReason",
        "id",
    ),
    *("logprobsResult", "chosenCandidates", "topCandidates", "token", "promptTokenCount", "safetyRatings", "details"),
]

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=4),
    max_leaves=20,
)


class _Parses(gemini_answer.Decoder):
    """Tells no event at a glance."""

    def _more_text(self, rest: bytes) -> bytes | None:
        return None


def _of_text(
    text: str = "a", counts: int | None = 3, total: Any = 9, tight: bool = False, end: bytes = b"\r\n\r\n", **more: Any
) -> bytes:
    usage: Json = {"promptTokenCount": 5, **({} if counts is None else {"candidatesTokenCount": counts})}
    usage |= {
        "totalTokenCount": total,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 5}],
        "trafficType": "ON_DEMAND",
    }
    candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0, **more}
    told = {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-2.5", "responseId": "r"}
    return b"data: " + json.dumps(told, separators=(",", ":") if tight else (",", ": ")).encode() + end


_PIECE = _of_text()
_ALIKE = [
    *(
        _PIECE.replace(b'"a"', b'"a' + other + b'"')
        for other in (b"\0", b"\n", b"\r", b"\xff", b"\xed\xa0\xbd", b"\\ud83d", b"\\")
    ),
    *(
        _PIECE.replace(b'"a"', b'"' + other + b'"')
        for other in (b"", b"\\", b"\\\\", b'\\"', b"\\n", b"\xc3\xa9", b'a","thought":true,"x":"')
    ),
    *(
        _PIECE.replace(b": 3", b": " + other)
        for other in (b"0", b"03", b"-3", b"3.0", b"3.5", b"3e9", b"1000000000", b"999999999", b'"3"', b"")
    ),
    *(
        _PIECE.replace(b": 9", b": " + other)
        for other in (b"0", b"9999999999", b"null", b"8}", b'8,"totalTokenCount": 7', b'8,"serviceTier": "flex"')
    ),
    _of_text("b", 0),
    _of_text("b", None),
    _of_text("b", total=None),
    _of_text("b", 4, 10),
    _of_text("b", finishReason="STOP"),
    _of_text("b", groundingMetadata={}),
    _of_text("b", groundingMetadata={"webSearchQueries": ["q"]}),
    _of_text("b", index=1),
    _of_text("b", tight=True),
    _of_text("b", end=b"\n\n"),
    _of_text("b", end=b"\n\r\n"),
    _PIECE.replace(b"}]", b'},{"text": "c"}]', 1),
    _PIECE.replace(b'"a"', b'"a", "thought": true'),
    _PIECE.replace(b'"gemini-2.5"', b'"gemini-2.6"'),
    _PIECE + b"data: ",
    _PIECE + b": \r\n\r\n",
    _PIECE.replace(b"data: ", b"data: {}"),
    _PIECE.replace(b",", b",\r\n", 1),
    _of_text("b", logprobsResult={"chosenCandidates": [{"token": "b", "logProbability": -0.1}]}),
    _PIECE[: _PIECE.index(b',"promptTokensDetails"')],  # as far as its counts, and what is behind them alone
    _PIECE.replace(_PIECE[_PIECE.index(b'}],"role') : _PIECE.index(b'3,"totalTokenCount"')], b""),
    _PIECE.replace(b'{"candidates"', b'{"x": {"text": "y"}, "candidates"'),
    _PIECE.replace(b'"responseId"', b'"candidates": [{"content": {"parts": [{"text": "z"}]}}], "responseId"'),
    _PIECE.replace(b'"usageMetadata"', b'"x": {"candidatesTokenCount": 8, "totalTokenCount": 8}, "usageMetadata"'),
    _PIECE.replace(b'"promptTokensDetails"', b'"candidatesTokenCount": 8, "promptTokensDetails"'),
    _PIECE + b" ",
    b"data: [DONE]\r\n\r\n",
    events({"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}),
]


def _told_as_parsed(told: list[bytes], cuts: list[int]) -> None:
    """That what is told at a glance is what parsing tells; `told` comes an event a read, save for `cuts`.

    A read may end within an event (a positive cut is a place in the stream) or hold two (a negative one: an event's).
    Usage is looked at after each read, after every third, and not before the end.
    """

    def heard(make: type[gemini_answer.Decoder], looks: int) -> list[Any]:
        decoder, found = make(Context("m", include_usage=True), 7, "req"), list[Any]()
        try:
            for at, (start, end) in enumerate(pairwise(sorted(edges))):
                found.append((decoder.feed(stream[start:end]), decoder.output_bytes, decoder.started))
                found.append(decoder.usage if at % looks == 0 else None)
            found.append(decoder.close())
        except LLMError as error:
            found.append(error.message)
        return [*found, decoder.usage, decoder.output_bytes, decoder.remember]

    signed = events(parts({"text": "", "thoughtSignature": "VGV4dA=="}, finishReason="STOP"))
    told = [*told, signed]
    stream, ends = b"".join(told), list(accumulate(map(len, told)))
    edges = {0, *ends} - {ends[-cut] for cut in cuts if 0 < -cut < len(ends)} | {len(stream)}
    edges |= {cut for cut in cuts if 0 < cut < len(stream)}
    for looks in (1, 3, 10**9):
        assert heard(gemini_answer.Decoder, looks) == heard(_Parses, looks)


@st.composite
def _pieces_of_text(draw: st.DrawFn) -> bytes:
    """A piece of text as Google sends it, or one that only looks so: a few of its bytes are others, or missing."""
    said = draw(st.text(max_size=4) | st.sampled_from(["a", 'said "so"', "\\", "\n", "\u2028", "\x7f", "\U0001f600"]))
    told = _of_text(
        said, draw(st.integers(1, 200)), draw(st.integers(1, 10**9)), tight=draw(st.sampled_from([False] * 9 + [True]))
    )
    if draw(st.integers(0, 9)) < 7:
        return told
    at = draw(st.integers(0, len(told)) | st.integers(told.index(b"text"), len(told)))
    other = draw(
        st.sampled_from(
            [b"", b'"', b"\\", b'\\"', b"\n", b"\r", b"\xff", b"\0", b"}", b" ", b"0", b"7", b".5", b',"x":1']
        )
    )
    return told[:at] + other + told[at + draw(st.integers(0, 2)) :]


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.one_of(*[_pieces_of_text()] * 5, st.sampled_from(_ALIKE)), min_size=4, max_size=12),
    st.lists(st.integers(-9, 3000), max_size=3),
)
def test_pieces_of_text_are_told_at_a_glance_and_never_wrongly(told: list[bytes], cuts: list[int]) -> None:
    _told_as_parsed(told, cuts)


@pytest.mark.parametrize("cut", [0, -1, -2, -3])
@pytest.mark.parametrize("alike", _ALIKE)
def test_an_event_that_only_looks_like_a_piece_of_text(alike: bytes, cut: int) -> None:
    for first in (_PIECE, alike.replace(b'"a"', b'"b"')):
        _told_as_parsed([first, first, _of_text("b", 4, 10), alike, _of_text("c", 5, 11), alike, _PIECE], [cut])


def test_a_piece_like_the_last_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = gemini_answer.Decoder(CONTEXT, 7, "req")
    decoder.feed(_of_text("a", 1, 6))
    decoder.feed(_of_text("b", 2, 7))
    monkeypatch.setattr(decoder, "_events", None)
    for at, text in enumerate(["c", "\u00e9\n", 'said "so"']):
        (frame,) = decoder.feed(_of_text(text, 3 + at, 8 + at))
        assert orjson.loads(frame[5:])["choices"][0]["delta"] == {"content": text}
    assert (decoder.usage.output_tokens, decoder.output_bytes) == (5, 2 + 1 + 3 + 9)


@settings(deadline=None)
@given(
    st.lists(
        st.binary(max_size=40)
        | _JSON.map(lambda value: events({"candidates": value}))
        | _JSON.map(lambda value: b"data: " + json.dumps(value).encode() + b"\n\n"),
        max_size=4,
    )
)
def test_any_bytes_make_chunks_or_an_error_of_ours(pieces: list[bytes]) -> None:
    decoder = gemini_answer.Decoder(CONTEXT, 7, "req")
    try:
        for piece in pieces:
            decoder.feed(piece)
        decoder.close()
    except LLMError as error:
        assert error.message


@settings(deadline=None)
@given(_JSON.map(lambda value: {"candidates": [value]}) | _JSON)
def test_any_json_makes_an_answer_or_an_error_of_ours(value: object) -> None:
    try:
        gemini_answer.response(json.dumps(value).encode(), CONTEXT, 7, "req")
    except LLMError as error:
        assert error.message


_TEXT: st.SearchStrategy[Any] = st.sampled_from(["Said", "a\n", "", None, 1, {}])
_PARTS = st.fixed_dictionaries({"text": _TEXT}, optional={"thought": st.booleans(), "thoughtSignature": _TEXT})
_CANDIDATE = st.fixed_dictionaries(
    {
        "content": st.fixed_dictionaries(
            {"parts": st.lists(_PARTS, min_size=1, max_size=1) | st.lists(_PARTS, max_size=2) | st.none()},
            optional={"role": st.just("model")},
        )
        | st.none(),
        "finishReason": st.sampled_from(["STOP", "STOP", "MAX_TOKENS", "SAFETY", "UNHEARD_OF", "", 1, None]),
    },
    optional={
        "index": st.sampled_from([0, 0, 1, -1, 300, True, None, "0"]),
        "avgLogprobs": st.sampled_from([None, -0.5]),
        "groundingMetadata": st.sampled_from([{}, {"webSearchQueries": ["q"]}]),
    },
)
_SAID = st.fixed_dictionaries(
    {"candidates": st.lists(_CANDIDATE, min_size=1, max_size=1) | st.lists(_CANDIDATE, max_size=2)},
    optional={"promptFeedback": st.sampled_from([{}, {"blockReason": "SAFETY"}]), "modelStatus": st.just({"a": 1})},
)


@given(_SAID)
def test_text_alone_is_read_as_any_other_answer(said: dict[str, Any]) -> None:
    text = gemini_answer._text_alone(said)
    if text is None:
        return
    read: dict[int, gemini_candidate.Candidate] = {}
    choices = gemini_answer._read(said, read, Context(), 1, "r")
    answer = gemini_answer.response(json.dumps(said).encode(), Context(), 1, "r")
    assert json.dumps(json.loads(answer.body)["choices"]) == json.dumps(choices)  # their order included
    assert gemini_candidate.searches(read.values()) == (0, 0)
    assert not any(each.remember for each in read.values())
    assert answer.remember == {}


def test_a_usual_answer_is_text_alone() -> None:
    assert gemini_answer._text_alone(json.loads(answers.whole("gemini"))) is not None


def test_a_candidate_that_comes_twice_is_read_to_its_end() -> None:
    twice = {"index": 0, "content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}
    grounding = {"webSearchQueries": ["q"], "groundingChunks": [{"web": {"uri": "https://h"}}]}
    told, _ = whole({**twice, "groundingMetadata": grounding}, twice)
    assert told["choices"][0]["message"]["content"] == "aa"


def test_a_deprecated_function_is_called_without_a_text() -> None:
    called = {"content": {"parts": [{"functionCall": {"name": "f", "args": {"x": 1}}}]}, "finishReason": "STOP"}
    told, _ = whole(called, context=Context(function_call=True))
    (choice,) = told["choices"]
    assert choice["message"]["function_call"] == {"name": "f", "arguments": '{"x":1}'}
    assert (choice["message"].get("content"), choice["finish_reason"]) == (None, "function_call")
