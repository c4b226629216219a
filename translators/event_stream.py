"""AWS's binary event stream, decoded from bytes however they were cut.

A frame is its length and its headers' length (two 32-bit integers and their CRC-32), headers, payload, and the CRC-32
of it all. Source: botocore 1.44, eventstream.py, which is the oracle in the tests; its limits are kept here.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from translators.errors import LLMError

MAX_HEADERS_BYTES = 128 * 1024
MAX_PAYLOAD_BYTES = 24 * 1024 * 1024

_PRELUDE = struct.Struct(">III")  # total length, headers' length, CRC-32 of the two
_CRC = struct.Struct(">I")
_TEXT = 7  # the type of a header's value: a string
_FIXED = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}  # bytes of the other types' values
_SIZED = (6, _TEXT)  # their values have a 16-bit length in front


class Message(NamedTuple):
    """One frame. Of its headers only those that hold text: no other means anything to us."""

    headers: dict[str, str]
    payload: bytes


class Decoder:
    """Bytes in, frames out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def pending(self) -> bool:
        """Whether there are bytes of a frame that is not complete."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> Iterator[Message]:
        """The frames that `data` completes. Raises LLMError("bad_upstream") behind the last that was whole."""
        self._buffer += data
        while len(self._buffer) >= _PRELUDE.size:
            total, headers, crc = _PRELUDE.unpack_from(self._buffer)
            if zlib.crc32(self._buffer[:8]) != crc:
                raise _broken("a frame's head does not match its checksum")
            payload = total - headers - _PRELUDE.size - _CRC.size
            if headers > MAX_HEADERS_BYTES or not 0 <= payload <= MAX_PAYLOAD_BYTES:
                raise _broken("a frame has an impossible length")
            if len(self._buffer) < total:
                return
            frame = bytes(self._buffer[:total])
            del self._buffer[:total]
            if zlib.crc32(frame[:-4]) != _CRC.unpack_from(frame, total - 4)[0]:
                raise _broken("a frame does not match its checksum")
            start = _PRELUDE.size + headers
            yield Message(_headers(frame[_PRELUDE.size : start]), frame[start:-4])


def encode(headers: dict[str, str], payload: bytes) -> bytes:
    """One frame, its headers all text."""
    told = b"".join(
        bytes([len(name.encode())]) + name.encode() + struct.pack(">BH", _TEXT, len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    head = struct.pack(">II", _PRELUDE.size + len(told) + len(payload) + _CRC.size, len(told))
    frame = head + _CRC.pack(zlib.crc32(head)) + told + payload
    return frame + _CRC.pack(zlib.crc32(frame))


def _headers(told: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    try:
        at = 0
        while at < len(told):
            end = at + 1 + told[at]
            name, kind = told[at + 1 : end].decode(), told[end]
            at = end + 1
            if kind in _SIZED:
                (size,) = struct.unpack_from(">H", told, at)
                at += 2
            else:
                size = _FIXED[kind]
            if at + size > len(told):
                raise _broken("a frame's headers are cut short")
            if kind == _TEXT:
                found[name] = told[at : at + size].decode()
            at += size
    except (IndexError, KeyError, UnicodeDecodeError, struct.error):
        raise _broken("a frame's headers cannot be read") from None
    return found


def _broken(why: str) -> LLMError:
    return LLMError("bad_upstream", f"The provider's event stream is broken: {why}")
