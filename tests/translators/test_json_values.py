"""JSON of any kind, read without a surprise."""

import json
import tracemalloc

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from translators.errors import LLMError
from translators.json_values import Json, answer_of, encoded, event_of, object_of, objects_of, parsed, piece_of, trimmed


def test_members_of_another_type_are_nothing() -> None:
    raw: Json = {"a": {"b": 1}, "list": [{"c": 1}, 2, None], "text": "x"}
    assert object_of(raw, "a") == {"b": 1}
    assert object_of(raw, "list") == object_of(raw, "gone") == {}
    assert objects_of(raw, "list") == [{"c": 1}]
    assert objects_of(raw, "text") == objects_of(raw, "gone") == []


def test_text_that_is_no_json_stays_text() -> None:
    assert parsed('{"a": [1]}') == {"a": [1]}
    assert parsed('{"a": ') == '{"a": '


@given(
    st.recursive(
        st.integers(-(10**300), 10**300)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(exclude_categories=["Cs"])),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    )
)
@example([10**18 - 1, 10**18, 2**63, -(2**63) - 1, 2**64, 10**300])
def test_no_number_loses_a_digit(value: object) -> None:
    assert json.loads(orjson.dumps(parsed(json.dumps(value)))) == value


def test_what_is_too_deep_to_be_read_again_is_told_so_where_it_is_written() -> None:
    deep = parsed("[" * 1000 + "1234567890123456789012" + "]" * 1000)
    with pytest.raises(LLMError, match="254 levels"):
        encoded({"a": deep})


def test_what_a_provider_sent_is_its_own_fault() -> None:
    assert answer_of(b"[1]") == [1]
    assert event_of(b'{"a":1}') == {"a": 1} and event_of(b"[1]") == {}
    for read in (answer_of, event_of):
        with pytest.raises(LLMError, match="not valid JSON") as caught:
            read(b"<html>")
        assert caught.value.kind == "bad_upstream"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r"\ud83d", "\ufffd"),
        (r"\uDE00 a", "\ufffd a"),
        (r"\ud83d\ude00\ud83d", "\U0001f600\ufffd"),
        (r"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (r"\\ud83d \" \ude00", '\\ud83d " \ufffd'),
        (r"\u00e9\ud83d", "\xe9\ufffd"),
    ],
)
def test_half_a_character_at_the_edge_of_a_piece_is_no_fault(written: str, read: str) -> None:
    assert piece_of(f'"{written}"'.encode()) == read
    for wrong in (written + r"\x", written + "\t", written + r"\ud8"):
        with pytest.raises(orjson.JSONDecodeError):
            piece_of(f'"{wrong}"'.encode())


def test_what_is_too_deep_to_be_written_is_the_callers() -> None:
    deep: Json = {}
    for _ in range(300):
        deep = {"a": deep}
    assert encoded({"a": 1}) == b'{"a":1}'
    with pytest.raises(LLMError, match="254 levels") as caught:
        encoded(deep)
    assert caught.value.kind == "invalid_request"


@pytest.mark.parametrize("size", [1, 500, 1000, 5000, 15_000])
def test_a_request_that_waits_for_its_answer_holds_no_room_behind_its_body(size: int) -> None:
    body: Json = {"messages": [{"role": "user", "content": "x" * size}]}
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        kept = [encoded(body) for _ in range(100)]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept[0] == orjson.dumps(body)
    assert (after - before) / 100 < len(kept[0]) + 100


def test_a_long_text_is_not_copied() -> None:
    written = b"x" * 100_000
    assert trimmed(written) is written
