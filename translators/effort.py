"""`reasoning_effort` as Claude's `thinking` and as a level of effort, from what the model is known to take."""

from typing import Any

from translators.errors import LLMError
from translators.exchange import ModelFacts
from translators.outcomes import Dropped

Json = dict[str, Any]

LEAST_BUDGET = 1024  # anthropic 2.11, types/thinking_config_enabled_param.py
BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768, "max": 65536}  # tokens
EFFORTS = tuple(BUDGETS)


def thinking(
    asked: Json, facts: ModelFacts, max_tokens: int, *, forced: bool, unset: str, report: list[Dropped]
) -> tuple[Json | None, str | None]:
    """`thinking`, and the level of effort. `forced`: the model is made to call a tool; what is lost is in `report`.

    `unset` says why effort is lost on a model that has neither. Raises LLMError("invalid_request") for what is none.
    """
    own, effort = asked.get("thinking"), asked.get("reasoning_effort")
    if effort is not None and effort not in (*EFFORTS, "none"):
        why = f"`reasoning_effort` must be one of none, {', '.join(EFFORTS)}"
        raise LLMError("invalid_request", why, param="reasoning_effort", code="invalid_value")
    level = _level(effort, facts, report) if effort else None
    if own is not None:
        if not isinstance(own, dict):
            raise LLMError("invalid_request", "`thinking` must be an object", param="thinking", code="invalid_type")
        return own, level
    if effort is None or facts.thinking not in ("budget", "adaptive"):
        if effort not in (None, "none") and level is None:
            report.append(Dropped("reasoning_effort", unset))
        return None, level
    if effort == "none":
        return (None if facts.thinking_always else {"type": "disabled"}), level
    if forced and not facts.thinking_always:
        report.append(Dropped("reasoning_effort", "Claude does not think where it is made to call a tool"))
        return None, level
    if facts.thinking == "adaptive":
        return {"type": "adaptive", "display": "summarized"}, level
    if max_tokens <= LEAST_BUDGET:
        report.append(Dropped("reasoning_effort", f"needs a max_completion_tokens above {LEAST_BUDGET}"))
        return None, level
    return {"type": "enabled", "budget_tokens": max(LEAST_BUDGET, min(BUDGETS[effort], max_tokens * 4 // 5))}, level


def _level(effort: str, facts: ModelFacts, report: list[Dropped]) -> str | None:
    """The model's own level nearest to `effort`, from below where there is one."""
    known = sorted((level for level in facts.efforts if level in EFFORTS), key=EFFORTS.index)
    if effort == "none":
        if not facts.thinking_always:
            return None
        report.append(Dropped("reasoning_effort", "this model always reasons: the least is asked for"))
        return known[0] if known else None
    if not known:
        return None
    below = [level for level in known if EFFORTS.index(level) <= EFFORTS.index(effort)]
    level = below[-1] if below else known[0]
    if level != effort:
        report.append(Dropped("reasoning_effort", f"this model does not know {effort}: {level} is asked for"))
    return level


def is_thinking(thinking: Json | None, facts: ModelFacts) -> bool:
    """Whether the model thinks when it is asked so; some do where nothing is said of it."""
    kind = (thinking or {}).get("type")
    return kind not in (None, "disabled") or (kind is None and (facts.thinking_always or facts.thinking == "adaptive"))
