import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from translators import json_array, sse
from translators.errors import LLMError

VALUES = st.dictionaries(st.text(), st.text() | st.integers() | st.dictionaries(st.text(), st.text()), max_size=3)


@settings(deadline=None)
@given(st.lists(VALUES, max_size=4), st.integers(1, 40), st.sampled_from([None, 1]))
def test_gives_each_object_however_the_bytes_are_cut(values: list[object], size: int, indent: int | None) -> None:
    data, decoder = json.dumps(values, indent=indent).encode(), json_array.Decoder()
    found = [each for at in range(0, len(data), size) for each in decoder.feed(data[at : at + size])]
    assert [json.loads(each) for each in found] == values


def test_what_is_not_complete_is_not_given() -> None:
    assert json_array.Decoder().feed(b'[{"a":1},\r\n{"b":"}') == [b'{"a":1}']


def test_one_object_must_end_some_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_array, "MAX_EVENT_BYTES", 100)
    decoder = json_array.Decoder()
    with pytest.raises(LLMError) as caught:
        for _ in range(20):
            decoder.feed(b'{"a":"xxxxx')
    assert caught.value.kind == "bad_upstream"
    assert sse.MAX_EVENT_BYTES > 100
