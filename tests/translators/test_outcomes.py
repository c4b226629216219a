"""Translated, refused, or dropped and reported; never silently."""

from typing import Any

import pytest

from translators.errors import LLMError
from translators.exchange import ModelFacts
from translators.outcomes import Dropped, Outcome, Table, judge, without_lost

TABLE: Table = {
    "model": Outcome("translated", "the name"),
    "messages": Outcome("translated", "the turns"),
    "role:user": Outcome("translated", "a turn"),
    "part:text": Outcome("translated", "text"),
    "part:image_url": Outcome("translated", "an image", needs="vision"),
    "temperature": Outcome("translated", "temperature", needs="sampling", otherwise="dropped"),
    "seed": Outcome("dropped", "no seed there"),
    "n": Outcome("refused", "one answer only"),
    "tool:custom": Outcome("refused", "no custom tools"),
    "tools": Outcome("translated", "tools"),
    "format:json_object": Outcome("dropped", "no such mode"),
    "response_format": Outcome("translated", "the format"),
}
IMAGE = [{"role": "user", "content": [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": "x"}}]}]


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}


def test_hints_are_dropped_and_reported_in_the_order_of_the_request() -> None:
    asked = chat(seed=1, vendor=2, response_format={"type": "json_object"})
    assert judge(asked, TABLE, ModelFacts(), "refuse") == (
        ("seed", "no seed there"),
        ("vendor", "unknown to this provider"),
        ("format:json_object", "no such mode"),
    )


@pytest.mark.parametrize(
    ("asked", "feature", "param"),
    [
        (chat(n=2), "n", "n"),
        (chat(tools=[{"type": "custom"}]), "tool:custom", "tools[0]"),
        (chat(messages=IMAGE), "part:image_url", "messages[0].content[1]"),
    ],
)
def test_what_would_change_the_meaning_is_refused_by_name_or_reported(
    asked: dict[str, Any], feature: str, param: str
) -> None:
    blind = ModelFacts(vision=False)
    with pytest.raises(LLMError, match=f"`{feature}`") as caught:
        judge(asked, TABLE, blind, "refuse")
    assert (caught.value.param, caught.value.code) == (param, "unsupported_parameter")
    assert [dropped.feature for dropped in judge(asked, TABLE, blind, "report")] == [feature]


def test_a_models_facts_decide() -> None:
    assert judge(chat(temperature=1), TABLE, ModelFacts(), "refuse") == ()
    assert [dropped.feature for dropped in judge(chat(temperature=1), TABLE, ModelFacts(sampling=False), "refuse")] == [
        "temperature"
    ]
    assert judge(chat(messages=IMAGE), TABLE, ModelFacts(), "refuse") == ()


@pytest.mark.parametrize("fields", [{"n": 1}, {"seed": None}, {"tools": []}, {"vendor": None}])
def test_a_value_that_asks_for_nothing_is_nothing(fields: dict[str, Any]) -> None:
    assert judge(chat(**fields), TABLE, ModelFacts(), "refuse") == ()


def test_what_stays_is_what_was_asked_for_and_is_not_lost() -> None:
    asked = chat(seed=1, n=None, temperature=0, response_format={"type": "json_object"})
    stays, without = without_lost(asked, [Dropped("seed", "no"), Dropped("format:json_object", "no")])
    assert stays == chat(temperature=0) and without == {"seed", "format:json_object"}
    assert without_lost(asked, [])[0] == chat(seed=1, temperature=0, response_format={"type": "json_object"})
