"""Server-sent events survive any framing and any cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from translators import sse
from translators.errors import LLMError


def events(stream: bytes, size: int = 10**9) -> list[sse.Event]:
    decoder = sse.Decoder()
    return [event for at in range(0, len(stream), size) for event in decoder.feed(stream[at : at + size])]


STREAM = (
    b'\xef\xbb\xbf: hello\nevent: delta\ndata: {"a":1,\ndata: "b":2}\nid: 7\n\n'
    b"data:x\xe2\x80\xa8y\n\n\nevent: ping\n\ndata\n\n"
)
EXPECTED = [(b"delta", b'{"a":1,\n"b":2}'), (b"", b"x\xe2\x80\xa8y"), (b"", b"")]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 10**9])
def test_every_framing_and_cut_gives_the_same_events(end: bytes, size: int) -> None:
    assert events(STREAM.replace(b"\n", end), size) == EXPECTED


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_events_that_come_one_by_one_are_read_as_any(end: bytes) -> None:
    told = [b"data: a", b"event: b\ndata: c", b": d", b"data:e", b"data: f\ndata: g", b"event: h", b"data:  i"]
    whole = [(b"", b"a"), (b"b", b"c"), (b"", b"e"), (b"", b"f\ng"), (b"", b" i")]
    for first in (b"", b"\n"):  # before the first of all a byte-order mark may stand
        decoder = sse.Decoder()
        pieces = [first, *(piece + b"\n\n" for piece in told)]
        assert [event for piece in pieces for event in decoder.feed(piece.replace(b"\n", end))] == whole
        assert decoder.feed(b"data: j") == decoder.feed(end) == []
        assert decoder.feed(b"data: k" + end * 2) == [(b"", b"j\nk")]
        assert decoder.feed(b"data: l" + end * 2 + b"data: m" + end * 2) == [(b"", b"l"), (b"", b"m")]
        assert decoder.feed(b"data: n" + end * 2 + b"id: o" + end * 2) == [(b"", b"n")]
        assert decoder.feed(b"data: p") == []
        assert decoder.feed(b"data: q" + end * 2) == [(b"", b"pdata: q")]


def test_a_byte_order_mark_stands_at_the_very_start_alone() -> None:
    decoder = sse.Decoder()
    assert decoder.feed(b"data: a\n\n") == [(b"", b"a")]
    assert decoder.feed(b"\xef\xbb\xbfdata: b\n\n") == []


def test_an_unfinished_event_is_not_dispatched() -> None:
    assert events(b"data: a\n\ndata: b\n") == [(b"", b"a")]


@given(
    st.lists(st.binary().map(lambda data: data.replace(b"\n", b"").replace(b"\r", b"")), max_size=5), st.integers(1, 9)
)
def test_what_is_encoded_is_decoded(payloads: list[bytes], size: int) -> None:
    assert [event.data for event in events(b"".join(map(sse.encode, payloads)), size)] == payloads


def test_an_endless_event_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 100)
    for line in (b"data: xxxxxxxxxx", b"data: xxxxxxxxxx\n"):
        decoder = sse.Decoder()
        with pytest.raises(LLMError, match="larger") as caught:
            for _ in range(20):
                decoder.feed(line)
        assert caught.value.kind == "bad_upstream"
