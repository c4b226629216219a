"""What a provider said that its client was not told: every string of the answer must turn up in the translation.

Not asked for are what names shapes (types, roles), how a request was served, and pieces of JSON text, which come out
whole.
"""

import json
from collections.abc import Iterator
from typing import Any

from tests import recorded
from tests.recorded import Json

_ENVELOPE = {
    *("type", "role", "p", "modality", "createTime", "service_tier", "serviceTier", "inference_geo", "trafficType"),
    *("jsonPath", "partial_json"),
}
LEAST = 4  # characters; shorter ones turn up by chance


def losses(body: bytes, answers: list[Json], *, binary: bool) -> Iterator[str]:
    """Each string that was lost, with its path. `answers` are the completion, or the chunks. `binary`: AWS's frames."""
    told = [event for _, event in recorded.frames(body)] if binary else list(recorded.events(body))
    heard = _heard(answers)
    seen: set[tuple[str, ...]] = set()
    for event in told:
        for path, text in _strings(event):
            if path[-1:] and (path[-1] in _ENVELOPE or path[-2:] == ("toolUse", "input")):
                continue
            if len(text) >= LEAST and path not in seen and not any(form in heard for form in _spellings(text)):
                seen.add(path)
                yield f"{'.'.join(path)} was lost: {text[:60]!r}"


def _strings(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _strings(inner, (*path, name))
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner, path)


def _heard(answers: list[Json]) -> str:
    """All strings, those of one place joined as an accumulator joins them, and those within arguments and content."""
    joined: dict[tuple[str, ...], str] = {}
    for answer in answers:
        for path, text in _strings(answer):
            joined[path] = joined.get(path, "") + text
    inner = [text for whole in joined.values() for _, text in _strings(recorded.arguments(whole))]
    return "\0".join([*joined.values(), *inner])


def _spellings(text: str) -> Iterator[str]:
    """As it stands, and as JSON within JSON has it."""
    yield text
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield json.dumps(text)[1:-1]
