"""A stream that is one JSON array, cut into its elements as they come: Google's, where `alt=sse` was not asked for."""

import re

from translators.errors import LLMError
from translators.sse import MAX_EVENT_BYTES

_STRUCTURE = re.compile(rb'["{}\\]')
_WITHIN_STRING = re.compile(rb'["\\]')


class Decoder:
    """Bytes in, the bytes of each top-level object out, however they are cut.

    What stands between the objects (brackets, commas, space) is passed over. Raises LLMError("bad_upstream") when one
    object grows past 64 MiB.
    """

    def __init__(self) -> None:
        self._rest = bytearray()  # from the start of the object that is not complete
        self._at = 0  # how far it was scanned
        self._depth = 0
        self._in_string = False

    def feed(self, data: bytes) -> list[bytes]:
        """The objects that `data` completes."""
        rest, found, start = self._rest, list[bytes](), 0
        rest += data
        while match := (_WITHIN_STRING if self._in_string else _STRUCTURE).search(rest, self._at):
            mark = match.group()
            if mark == b"\\":
                if match.end() == len(rest):  # what it escapes is still to come
                    self._at = match.start()
                    break
                self._at = match.end() + 1
                continue
            self._at = match.end()
            if mark == b'"':
                self._in_string = not self._in_string
            elif mark == b"{":
                if self._depth == 0:
                    start = match.start()
                self._depth += 1
            elif self._depth:
                self._depth -= 1
                if self._depth == 0:
                    found.append(bytes(rest[start : self._at]))
                    start = self._at
        else:
            self._at = len(rest)
        if self._depth == 0 and not self._in_string:
            start = self._at
        del rest[:start]
        self._at -= start
        if len(rest) > MAX_EVENT_BYTES:
            raise LLMError("bad_upstream", "The provider sent one object larger than 64 MiB")
        return found
