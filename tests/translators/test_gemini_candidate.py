"""One candidate of Gemini's, part by part: what OpenAI's message hears of it."""

from typing import Any

from google.genai import types

from translators.exchange import Context
from translators.gemini_candidate import FINISH, Candidate, logprobs_of, searches

SOURCE = {"groundingChunks": [{"web": {"uri": "https://x", "title": "X"}}, {"maps": {"title": "Y"}}]}


def heard(*chunks: dict[str, Any], context: Context | None = None) -> list[dict[str, Any]]:
    candidate = Candidate(0, context or Context(), "call_r_")
    return [delta for chunk in chunks for delta in candidate.read(chunk)] + list(candidate.end(7))


def parts(*said: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"content": {"parts": list(said), "role": "model"}, **more}


def test_every_finish_reason_of_the_sdk_has_a_word() -> None:
    assert set(FINISH) == {each.value for each in types.FinishReason}


def test_text_thoughts_and_calls_are_told_apart() -> None:
    deltas = heard(parts({"text": "hm", "thought": True}, {"text": "Hi"}, {"functionCall": {"name": "f", "args": {}}}))
    thought, text, call = deltas[0], deltas[1], deltas[2]["tool_calls"][0]
    assert thought["reasoning_content"] == "hm"
    assert text == {"content": "Hi"}
    assert (call["index"], call["function"]["name"]) == (0, "f")


def test_a_reason_may_come_as_a_number() -> None:
    candidate = Candidate(0, Context(), "call_r_")
    list(candidate.read(parts(finishReason=2)))
    assert (candidate.finish, candidate.finish_reason) == ("MAX_TOKENS", "length")


def test_bytes_are_counted_as_they_are_written() -> None:
    candidate = Candidate(0, Context(), "call_r_")
    list(candidate.read(parts({"text": "Grüße"}, {"text": "…"})))
    assert candidate.bytes == len("Grüße…".encode())


def test_what_was_found_is_told_at_the_end_with_its_place_in_the_text() -> None:
    support = {"segment": {"startIndex": 0, "endIndex": 7}, "groundingChunkIndices": [0, 9]}
    chunk = parts({"text": "Grüße an alle"}, groundingMetadata=SOURCE | {"groundingSupports": [support]})
    (cited,) = heard(chunk)[-1]["annotations"]
    assert cited["url_citation"] == {"start_index": 0, "end_index": 5, "url": "https://x", "title": "X"}


def test_a_search_is_counted_once_and_a_map_once_an_answer() -> None:
    candidates = [Candidate(at, Context(), "call_r_") for at in range(2)]
    told = SOURCE | {"webSearchQueries": ["a", "a", "", "b"], "imageSearchQueries": ["c"]}
    for candidate in candidates:
        list(candidate.read(parts({"text": "x"}, groundingMetadata=told)))
    assert searches(candidates) == (6, 1)
    assert searches([]) == (0, 0)


def test_log_probabilities_take_openai_s_shape() -> None:
    one = {"token": "Hi", "logProbability": -0.5}
    told = logprobs_of({"chosenCandidates": [one], "topCandidates": [{"candidates": [one, {"token": "Ho"}]}]})
    assert told is not None
    (first,) = told["content"]
    assert (first["token"], first["bytes"], first["logprob"]) == ("Hi", [72, 105], -0.5)
    assert [(top["token"], top["logprob"]) for top in first["top_logprobs"]] == [("Hi", -0.5), ("Ho", 0.0)]
    assert logprobs_of({}) is None


def test_a_source_s_place_is_counted_from_its_part() -> None:
    def support(part: int | None) -> dict[str, Any]:
        segment = {"startIndex": 0, "endIndex": 4} | ({} if part is None else {"partIndex": part})
        return {"segment": segment, "groundingChunkIndices": [0]}

    found = SOURCE | {"groundingSupports": [support(None), support(1), support(3), support(9)]}
    said = parts({"text": "Grüß. "}, {"text": "Rome"}, {"text": "hm", "thought": True}, {"text": "Oslo"})
    notes = heard({**said, "groundingMetadata": found})[-1]["annotations"]
    places = [(note["url_citation"]["start_index"], note["url_citation"]["end_index"]) for note in notes]
    assert places == [(0, 3), (6, 10), (10, 14), (0, 3)]


def test_a_deprecated_function_is_called_in_its_own_words() -> None:
    context = Context(function_call=True, tool_names={"a_b": "a b"})
    calls = [{"functionCall": {"name": "a_b", "args": {"x": 1}}}, {"functionCall": {"name": "f", "args": {}}}]
    candidate = Candidate(0, context, "call_r_")
    deltas = list(candidate.read(parts(*calls, finishReason="STOP")))
    assert deltas == [{"function_call": {"name": "a b", "arguments": '{"x":1}'}}]
    assert candidate.finish_reason == "function_call"
    streamed = [
        parts({"functionCall": {"name": "a_b", "willContinue": True}}),
        parts({"functionCall": {"partialArgs": [{"jsonPath": "$.x", "numberValue": 2}], "willContinue": True}}),
        parts({"functionCall": {}}, finishReason="STOP"),
    ]
    pieces = [delta["function_call"] for delta in heard(*streamed, context=context)]
    assert pieces[0] == {"name": "a b", "arguments": ""}
    assert "".join(piece["arguments"] for piece in pieces) in ('{"x":2}', '{"x":2.0}')
