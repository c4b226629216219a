"""The binary framing, with botocore's as oracle."""

import struct
import zlib

import pytest
from botocore.eventstream import EventStreamBuffer  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from tests.replay import body_of, recording
from translators.errors import LLMError
from translators.event_stream import MAX_PAYLOAD_BYTES, Decoder, Message, encode

FRAME = encode({":message-type": "event", ":event-type": "messageStop"}, b'{"stopReason":"end_turn"}')


def raw_frame(headers: bytes, payload: bytes = b"") -> bytes:
    head = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    frame = head + struct.pack(">I", zlib.crc32(head)) + headers + payload
    return frame + struct.pack(">I", zlib.crc32(frame))


@pytest.mark.parametrize("size", [1, 7, 1_000_000])
def test_reads_what_botocore_reads_however_it_is_cut(size: int) -> None:
    body = body_of(recording("bedrock.converseStream", "5002bca5ef22"))
    oracle = EventStreamBuffer()
    oracle.add_data(body)
    expected = [Message(dict(message.headers), message.payload) for message in oracle]
    decoder = Decoder()
    found = [frame for at in range(0, len(body), size) for frame in decoder.feed(body[at : at + size])]
    assert found == expected and len(found) > 10
    assert not decoder.pending


@given(st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=50), max_size=5), st.binary(max_size=200))
def test_what_is_written_botocore_reads(headers: dict[str, str], payload: bytes) -> None:
    oracle = EventStreamBuffer()
    oracle.add_data(encode(headers, payload))
    assert [(message.headers, message.payload) for message in oracle] == [(headers, payload)]
    assert list(Decoder().feed(encode(headers, payload))) == [Message(headers, payload)]


def test_headers_of_every_type_are_passed_over_but_texts_are_kept() -> None:
    told = b"".join(
        bytes([1]) + name + bytes([kind]) + value
        for name, kind, value in [
            (b"a", 0, b""),
            (b"b", 1, b""),
            (b"c", 2, b"\x01"),
            (b"d", 3, b"\x00\x01"),
            (b"e", 4, bytes(4)),
            (b"f", 5, bytes(8)),
            (b"g", 6, b"\x00\x02ab"),
            (b"h", 7, b"\x00\x02hi"),
            (b"i", 8, bytes(8)),
            (b"j", 9, bytes(16)),
        ]
    )
    assert list(Decoder().feed(raw_frame(told, b"x"))) == [Message({"h": "hi"}, b"x")]


@pytest.mark.parametrize("at", [0, 5, 9, 20, len(FRAME) - 1])
def test_a_changed_byte_is_found(at: int) -> None:
    broken = bytearray(FRAME)
    broken[at] ^= 1
    with pytest.raises(LLMError) as caught:
        list(Decoder().feed(bytes(broken)))
    assert caught.value.kind == "bad_upstream"


def test_what_was_whole_comes_before_the_error() -> None:
    frames = Decoder().feed(FRAME + b"<html>no stream at all</html>")
    assert next(frames).payload == b'{"stopReason":"end_turn"}'
    with pytest.raises(LLMError):
        next(frames)


@pytest.mark.parametrize(
    "headers", [b"\x01a\x07\x00\x09x", b"\x01a\x63", b"\x05a", b"\x01\xff\x00", b"\x01a\x07\x00", b"\x01a\x05\x00"]
)
def test_headers_that_cannot_be_read_are_an_error(headers: bytes) -> None:
    with pytest.raises(LLMError):
        list(Decoder().feed(raw_frame(headers)))


def test_a_length_that_no_frame_has_is_refused_before_its_bytes_are_waited_for() -> None:
    for total, headers in [(MAX_PAYLOAD_BYTES + 100_000, 0), (8, 0), (20, 10), (2**31, 2**30)]:
        head = struct.pack(">II", total, headers)
        with pytest.raises(LLMError):
            list(Decoder().feed(head + struct.pack(">I", zlib.crc32(head))))


def test_an_unfinished_frame_is_known() -> None:
    decoder = Decoder()
    assert list(decoder.feed(FRAME[:-1])) == [] and decoder.pending
