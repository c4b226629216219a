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
SETTLE = _script("sums", "meters", "give_back", "settle")
REAP = _script("sums", "meters", "give_back", "reap")
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


class Keys(NamedTuple):
    """A script's keys, behind their number; `first` is the name of the first one."""

    number: int
    packed: bytes
    first: str


def keys(*names: str) -> Keys:
    return Keys(*words((len(names), *names)), names[0])


_BY_HASH = b"*%d\r\n$7\r\nEVALSHA\r\n$40\r\n%b\r\n"
_HASH_ENDS = len(b"$7\r\nEVALSHA\r\n$40\r\n") + 40 + len(b"\r\n")


class Call(NamedTuple):
    """One script with its keys and arguments. `durable`: it changes what must not be lost."""

    script: Script
    command: bytes  # as the server takes it
    durable: bool = False

    def by_text(self) -> bytes:
        """The same for a server that does not know the script yet."""
        number, _, rest = self.command.partition(b"\r\n")
        return b"%b\r\n%b%b" % (number, packed(("EVAL", self.script.text)), rest[_HASH_ENDS:])


def head(script: Script, keys: Keys, arguments: int) -> bytes:
    """How a call with so many arguments begins."""
    return _BY_HASH % (2 + keys.number + arguments, script.sha.encode()) + keys.packed


def call(script: Script, keys: Keys, arguments: Sequence[Argument], *, durable: bool = False) -> Call:
    return Call(script, head(script, keys, len(arguments)) + packed(arguments), durable)
