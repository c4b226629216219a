"""Deltas of an OpenAI message, put together as the SDKs' accumulators do, and how much they say."""

from collections.abc import Iterable
from typing import Any

Json = dict[str, Any]


def add(message: Json, deltas: Iterable[Json]) -> None:
    """Puts `deltas` behind what `message` says already."""
    for delta in deltas:
        for name, value in delta.items():
            before = message.get(name)
            if isinstance(before, str) and isinstance(value, str):
                message[name] = before + value
            elif isinstance(value, list):
                _add_entries(message.setdefault(name, []), value)
            elif name == "function_call" and isinstance(before, dict):
                before["arguments"] += value["arguments"]
            else:
                message[name] = value


def close(message: Json) -> None:
    """Makes a whole answer's message of what the deltas say: "" where they say nothing, and calls without index."""
    if message.keys() == {"content"} and message["content"] is None:
        message["content"] = ""
    for call in message.get("tool_calls") or ():
        del call["index"]


def _add_entries(entries: list[Json], more: list[Json]) -> None:
    for entry in more:
        if entry["index"] >= len(entries):
            entries.append(entry)
            continue
        before = entries[entry["index"]]
        for name in ("text", "signature"):
            if name in entry:
                before[name] = before.get(name, "") + entry[name]
        if "function" in entry:
            before["function"]["arguments"] += entry["function"]["arguments"]


def spoken_bytes(delta: Json) -> int:
    """UTF-8 bytes of text, reasoning and arguments in a delta."""
    if len(delta) == 1 and "content" in delta:  # most are a piece of text
        return len((delta["content"] or "").encode(errors="surrogatepass"))
    said = [delta.get("content") or "", delta.get("reasoning_content") or ""]
    said += [call["function"]["arguments"] for call in delta.get("tool_calls") or () if "function" in call]
    said += [call["custom"]["input"] for call in delta.get("tool_calls") or () if "custom" in call]
    if "function_call" in delta:
        said.append(delta["function_call"]["arguments"])
    return sum(len(text.encode(errors="surrogatepass")) for text in said)
