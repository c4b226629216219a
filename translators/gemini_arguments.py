"""A function call's arguments that come one by one, each with the JSON path it belongs at (Vertex only).

Source: google-genai 3.4, types.PartialArg; the recorded stream 444199567585.
"""

import re
from collections.abc import Iterable
from typing import Any

from translators.errors import LLMError
from translators.exchange import Json

# The steps of RFC 9535 that name one place: .name  [0]  ['name']  ["name"]
_STEP = re.compile(r"""\.([^.\[\]]+)|\[(\d{1,9})\]|\['((?:[^'\\]|\\.)*)'\]|\["((?:[^"\\]|\\.)*)"\]""")
_VALUES = ("stringValue", "numberValue", "boolValue", "nullValue")


class StreamedArguments:
    """Puts the pieces of one call's arguments together. `args` is what is known so far."""

    def __init__(self, args: Json) -> None:
        self.args: Json = dict(args)

    def add(self, pieces: Iterable[object]) -> None:
        """Takes pieces in. Raises LLMError("bad_upstream") for a path that leads nowhere."""
        for piece in pieces:
            if isinstance(piece, dict):
                field = next((name for name in _VALUES if name in piece), None)
                if field is not None:
                    value = None if field == "nullValue" else piece[field]
                    self._put(_steps(str(piece.get("jsonPath") or "")), value)

    def _put(self, steps: list[str | int], value: Any) -> None:
        here: Any = self.args
        for step, following in zip(steps, [*steps[1:], None], strict=True):
            if not _reachable(here, step):
                raise LLMError("bad_upstream", "The provider sent an argument at a place that is not there")
            known = step in here if isinstance(here, dict) else step != len(here)
            if following is not None:
                if not known:
                    _set(here, step, [] if isinstance(following, int) else {})
                here = here[step]
            elif known and isinstance(here[step], str) and isinstance(value, str):
                here[step] += value  # a string may come in pieces
            else:
                _set(here, step, _integral(value))


def _reachable(here: Any, step: str | int) -> bool:
    """Whether `step` is a place of `here`, the one behind a list's end included: a list grows in order."""
    if isinstance(step, int):
        return isinstance(here, list) and step <= len(here)
    return isinstance(here, dict)


def _set(here: Any, step: str | int, value: Any) -> None:
    if isinstance(here, list) and step == len(here):
        here.append(value)
    else:
        here[step] = value


def _integral(value: Any) -> Any:
    """Numbers come as doubles: 3.0 is 3 to a schema that says integer. Beyond 2^53 a double counts no integers."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53 else value


def _steps(path: str) -> list[str | int]:
    steps: list[str | int] = []
    at = 1 if path.startswith("$") else 0
    while at < len(path):
        match = _STEP.match(path, at)
        if match is None:
            raise LLMError("bad_upstream", "The provider sent an argument with no path that can be read")
        name, number, single, double = match.groups()
        steps.append(int(number) if number else name or re.sub(r"\\(.)", r"\1", single or double or ""))
        at = match.end()
    if not steps:
        raise LLMError("bad_upstream", "The provider sent an argument with no path")
    return steps
