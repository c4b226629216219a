"""Which dialect a host's model is asked in."""

import pytest

from translators.registry import SHAPES, TRANSLATORS, spoken


@pytest.mark.parametrize(
    ("dialect", "publisher", "expected"),
    [
        ("vertex", "google", "vertex"),
        ("vertex", "", "vertex"),
        ("vertex", "anthropic", "vertex_anthropic"),
        ("vertex", "meta", "vertex_openai"),
        ("openai", "anthropic", "openai"),
        ("vertex_anthropic", "google", "vertex_anthropic"),
    ],
)
def test_a_models_publisher_decides_where_the_host_has_several_shapes(
    dialect: str, publisher: str, expected: str
) -> None:
    assert spoken(dialect, publisher) == expected


def test_every_shape_is_a_dialect() -> None:
    assert {shape for shapes in SHAPES.values() for shape in shapes.values()} | set(SHAPES) <= set(TRANSLATORS)


@pytest.mark.parametrize("dialect", TRANSLATORS)
def test_every_dialect_says_what_becomes_of_the_same_features(dialect: str) -> None:
    everywhere = set.intersection(*(set(translator.OUTCOMES) for translator in TRANSLATORS.values()))
    assert {"temperature", "role:developer", "part:image_url", "tool:function", "format:json_schema"} <= everywhere
    assert all(outcome.note for outcome in TRANSLATORS[dialect].OUTCOMES.values())
