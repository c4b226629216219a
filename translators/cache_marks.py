"""Where the prompt's cache is to be written: OpenAI's breakpoints in Anthropic's words, for both of Claude's hosts.

OpenAI takes any number, and writes the latest four, of which one is the implicit one; a breakpoint without a `ttl` has
that of `prompt_cache_options` (openai 3.57, types/chat/completion_create_params.py, PromptCacheOptions). Claude refuses
a fifth (continuedev/continue#6937), one for an hour behind one for five minutes (vellum-ai/vellum-assistant#22191), and
two on one block (#23414 there).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from translators.outcomes import Dropped

Json = dict[str, Any]

MOST = 4
_MARK = "prompt_cache_breakpoint"
_SAID = ("function", "custom")  # what a tool of the client's is said in
_HOUR = ("30m", "1h")  # a least lifetime, that an hour covers; what is longer is told of


def in_anthropics_words(asked: Json, report: list[Dropped]) -> Json:
    """`asked` with `cache_control` in place of every `prompt_cache_breakpoint` and of `prompt_cache_options`.

    Those that are Anthropic's already stay as they are. An entry is kept 5 minutes or 1 hour there: the hour where the
    client states any `ttl`, and for what comes before such a one.
    """
    options = asked.get("prompt_cache_options") or {}
    holders = list(markable(asked))
    marks = [holder for holder in holders if _mark(holder)]
    if not options and not marks:
        return asked
    kept_s = {str(ttl) for each in (options, *(holder[_MARK] for holder in marks)) if (ttl := each.get("ttl"))}
    report += [Dropped(f"{_MARK}.ttl={ttl}", "Claude keeps an entry for 1 hour") for ttl in sorted(kept_s - {*_HOUR})]
    whole = asked.get("cache_control")
    if whole is None and options and options.get("mode") != "explicit" and not _ends_in_one(asked["messages"][-1]):
        whole = _control(bool(options.get("ttl")))
    own = sum(_control_of(holder) is not None for holder in holders) + (whole is not None)
    written = {id(holder) for holder in (marks[own - MOST :] if own < MOST else ())}
    controls: dict[int, Json | None] = {}
    hour = (whole or {}).get("ttl") == "1h"
    for holder in reversed(holders):
        if not _mark(holder):
            hour = hour or (_control_of(holder) or {}).get("ttl") == "1h"
        elif id(holder) in written:
            hour = hour or bool(holder[_MARK].get("ttl") or options.get("ttl"))
            controls[id(holder)] = _control(hour)
        else:
            controls[id(holder)] = None
    made = {name: value for name, value in asked.items() if name != "prompt_cache_options"}
    made["messages"] = [_told(message, controls, "content", "tool_calls") for message in asked["messages"]]
    for name in ("tools", "functions"):
        if name in asked:
            made[name] = [_told(tool, controls, *_SAID) for tool in asked[name]]
    return made if whole is None else {**made, "cache_control": whole}


def markable(asked: Json) -> Iterator[Json]:
    """All that can be marked, in the order of the prompt: tools come first in it."""
    for tool in (*(asked.get("tools") or ()), *(asked.get("functions") or ())):
        yield from (said for name in _SAID if isinstance(said := tool.get(name), dict))
        yield tool
    for message in asked["messages"]:
        content = message.get("content")
        yield from content if isinstance(content, list) else ()
        yield from message.get("tool_calls") or ()
        yield message


def _mark(holder: Json) -> bool:
    return isinstance(holder.get(_MARK), dict) and _control_of(holder) is None


def _control_of(holder: Json) -> Json | None:
    control = holder.get("cache_control")
    return control if isinstance(control, dict) else None


def _control(hour: bool) -> Json:
    return {"type": "ephemeral", "ttl": "1h"} if hour else {"type": "ephemeral"}


def _ends_in_one(message: Json) -> bool:
    """Whether the last thing that is said is marked already."""
    content = message.get("content")
    last = (message.get("tool_calls") or (content if isinstance(content, list) else ()) or (message,))[-1]
    return any(_mark(each) or _control_of(each) is not None for each in (last, message))


def _told(holder: Json, controls: Mapping[int, Json | None], *inner: str) -> Json:
    """`holder`, and what is in these fields of it, marked as `controls` say by its identity."""
    made = holder
    if id(holder) in controls:
        control = controls[id(holder)]
        made = {name: value for name, value in holder.items() if name != _MARK}
        made |= {"cache_control": control} if control else {}
    for name in inner:
        match holder.get(name):
            case list(each):
                made = {**made, name: [_told(one, controls) for one in each]}
            case dict(one):
                made = {**made, name: _told(one, controls)}
    return made
