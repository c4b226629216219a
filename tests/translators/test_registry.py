"""Every dialect that can be configured is a whole translator."""

import pytest

from gateway.settings import BASE_URLS, DIALECTS
from translators.registry import TRANSLATORS


def test_what_can_be_configured_is_what_is_there() -> None:
    assert set(DIALECTS) == set(TRANSLATORS)
    assert set(BASE_URLS) <= set(TRANSLATORS)


@pytest.mark.parametrize("dialect", TRANSLATORS)
def test_every_dialect_says_what_becomes_of_the_same_features(dialect: str) -> None:
    everywhere = set.intersection(*(set(translator.OUTCOMES) for translator in TRANSLATORS.values()))
    assert {"temperature", "role:developer", "part:image_url", "tool:function", "format:json_schema"} <= everywhere
    assert all(outcome.note for outcome in TRANSLATORS[dialect].OUTCOMES.values())
