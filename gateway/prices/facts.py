"""models.yaml: what each model accepts, and the stated rule for one that is not listed.

A model is looked for as `provider/model`, then by its name alone; then by that name without what hosts and snapshots
add: a folder before it (`models/`, `anthropic/`), a variant behind it (`:free`), a date or `-latest`; dots and dashes
count as the same there (`claude-sonnet-4.5`). Then comes the longest pattern that covers it, then a model of which
nothing is known. A row that names a host (`groq/…`) is for that host alone.

`publishers` says who made a model whose name does not: a host of many makers' models is asked in the maker's shape.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import lru_cache
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.prices.price_list import covers
from translators.exchange import ModelFacts

# -20251001, -2026-03-17, @20251001, -04-2026, -latest
_SNAPSHOT = re.compile(r"([-@]20\d{6}|-20\d\d-\d\d-\d\d|-\d\d-20\d\d|-latest)$")


class Listed(BaseModel):
    """One row of models.yaml; what is left out is as in translators.exchange.ModelFacts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_input_tokens: int | None = Field(default=None, gt=0)
    max_output_tokens: int | None = Field(default=None, gt=0)
    sampling: bool = True
    thinking: Literal["none", "budget", "adaptive", "level"] = "none"
    thinking_always: bool = False
    reasons: bool = False
    efforts: tuple[str, ...] = ()
    structured_output: bool = True
    prefill: bool = True
    forced_tool: bool = True
    mid_system: bool = False
    vision: bool = True
    pdf: bool = True
    audio: bool = False
    video: bool = False
    strict_tools: bool = True
    own_words: Literal["", "anthropic", "nova", "openai"] = ""
    serial_tools: bool = False


class ModelList(BaseModel):
    """models.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: dict[str, Listed] = {}
    publishers: dict[str, str] = {}


# What the built-in demo model accepts, whatever models.yaml is there: next to nothing (gateway/demo.py).
DEMO = Listed(
    max_output_tokens=64,
    sampling=False,
    structured_output=False,
    prefill=False,
    forced_tool=False,
    vision=False,
    pdf=False,
    strict_tools=False,
)

_FIELDS = tuple(field.name for field in fields(ModelFacts))


class Facts:
    """models.yaml, ready to be asked."""

    def __init__(self, listed: ModelList) -> None:
        self._rows: Mapping[str, Listed] = {"demo/demo": DEMO, **listed.models}
        self._publishers = sorted(listed.publishers.items(), key=lambda item: len(item[0]), reverse=True)
        self._bare = {_bare(name): name for name in listed.models if "*" not in name and "/" not in name}
        patterns = [name for name in listed.models if "*" in name]
        self._patterns = sorted(patterns, key=len, reverse=True)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def lookup(self, provider: str, model: str) -> ModelFacts:
        """The facts of `model` at `provider`."""
        name = self._named(provider, model)
        return ModelFacts() if name is None else _facts(self._rows[name])

    def publisher(self, model: str) -> str:
        """Who made `model`, in Google's words: the folder in its name, else by the longest pattern; "" when unknown."""
        folder, slash, _ = model.partition("/")
        return folder if slash else next((who for name, who in self._publishers if covers(name, model)), "")

    def _named(self, provider: str, model: str) -> str | None:
        full = f"{provider}/{model}"
        for name in (full, model):
            if name in self._rows:
                return name
        bare = _bare(model)
        for name in (bare, _SNAPSHOT.sub("", bare)):
            if name in self._bare:
                return self._bare[name]
        return next((name for name in self._patterns if covers(name, full) or covers(_dashed(name), bare)), None)


def _facts(row: Listed) -> ModelFacts:
    said = {name: getattr(row, name) for name in _FIELDS}
    return ModelFacts(**{**said, "reasons": row.reasons or row.thinking != "none"})


@lru_cache(maxsize=4096)
def _bare(model: str) -> str:
    """The name without folder and variant, in one spelling. A fine-tune (`ft:gpt-4o-…:org::id`) is its base model's."""
    if model.startswith("ft:"):
        return _dashed(":".join(model.split(":")[:2]))
    return _dashed(model.rpartition("/")[2].partition(":")[0])


def _dashed(name: str) -> str:
    return name.lower().replace(".", "-")
