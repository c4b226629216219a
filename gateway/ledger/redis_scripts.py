"""The Lua scripts beside this file, and how one is called.

A script is known to a server by the hash of its text, so that versions of Headgate run side by side on one store.
"""

from collections.abc import Sequence
from hashlib import sha1
from importlib.resources import files
from typing import NamedTuple

from gateway.ledger.redis_place import Argument, packed


class Script(NamedTuple):
    """A Lua script and the name that the server knows it by."""

    text: str
    sha: str


def script(text: str) -> Script:
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


def _script(*names: str) -> Script:
    """The files of these names as one script."""
    return script("\n".join(files("gateway.ledger").joinpath("lua", f"{name}.lua").read_text() for name in names))


RESERVE = _script("sums", "standings", "meters", "reserve")
GROW = _script("sums", "standings", "grow")
RENEW = _script("sums", "renew")
SETTLE = _script("sums", "meters", "settle")
REAP = _script("sums", "meters", "reap")
RESTORE = _script("sums", "meters", "restore")
SNAPSHOT = _script("sums", "snapshot")
FOLD = _script("sums", "fold")
LAYOUT_CLAIM = _script("sums", "layout")
LOCK = _script("lock")
KEYS = _script("keys")
HOLDER = _script("holder")


class Words(NamedTuple):
    """Part of a command as it stands on the wire, and how many there are."""

    number: int
    packed: bytes


def words(arguments: Sequence[Argument]) -> Words:
    return Words(len(arguments), packed(arguments))


def keys(*names: str) -> Words:
    """A script's keys, behind their number."""
    return words((len(names), *names))


class Call(NamedTuple):
    """One script with its keys and arguments. `durable`: it changes what must not be lost."""

    script: Script
    words: Words
    durable: bool = False

    def command(self, by_text: bool = False) -> bytes:
        """As the server takes it; with the script's text for one that does not know it yet."""
        number, rest = self.words
        if by_text:
            return b"*%d\r\n%b%b" % (2 + number, packed(("EVAL", self.script.text)), rest)
        return b"*%d\r\n$7\r\nEVALSHA\r\n$40\r\n%b\r\n%b" % (2 + number, self.script.sha.encode(), rest)


def call(script: Script, keys: Words, arguments: Sequence[Argument], *, durable: bool = False) -> Call:
    return Call(script, Words(keys.number + len(arguments), keys.packed + packed(arguments)), durable)
