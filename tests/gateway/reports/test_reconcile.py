"""Two books side by side: what agrees, what differs and by how much, what only one of them knows."""

from decimal import Decimal
from typing import Any

from gateway.reports.provider_reports import COST, Stated
from gateway.reports.reconcile import ALL, OTHER, compare, span, total

DAY = "2026-11-19"


def ours(
    model: str = "gpt-5", day: str = DAY, usd: str = "1", provider: str = "openai", **tokens: int
) -> dict[str, Any]:
    return {"day": day, "target": f"{provider}/{model}", "spend_usd": usd, "requests": 1, "tokens": tokens}


def usage(model: str | None = "gpt-5", day: str = DAY, **tokens: int) -> Stated:
    return Stated(day, model, {name: Decimal(amount) for name, amount in tokens.items()}, "usage")


def cost(usd: str, model: str | None = "gpt-5", day: str = DAY) -> Stated:
    return Stated(day, model, {COST: Decimal(usd) * 10**9}, "cost")


def compared(groups: list[dict[str, Any]], stated: list[Stated], provider: str) -> Any:
    """Decimals are compared with plain numbers below."""
    return compare(groups, stated, provider)


def test_books_that_agree_differ_by_nothing() -> None:
    groups = [ours("gpt-5", usd="0.3", input_tokens=5, audio_input_tokens=2, output_tokens=3, reasoning_tokens=4)]
    found = compared(groups, [usage("gpt-5-2026-01-01", input_tokens=7, output_tokens=7), cost("0.3")], "openai")
    assert [(one.measure, one.ours, one.theirs, one.percent) for one in found] == [
        ("input_tokens", 7, 7, 0),
        ("output_tokens", 7, 7, 0),
        (COST, 300_000_000, 300_000_000, 0),
    ]
    assert not any(one.beyond(Decimal(0)) for one in found)


def test_a_difference_is_told_in_percent_of_theirs() -> None:
    [found] = compared([ours(usd="1.02")], [cost("1")], "openai")
    assert (found.ours - found.theirs, found.percent) == (20_000_000, 2)
    assert found.beyond(Decimal("1.99"))
    assert not found.beyond(Decimal(2))
    [found] = compared([ours(usd="0.98")], [cost("1")], "openai")
    assert found.percent == 2, "less is as wrong as more"


def test_what_only_one_side_knows_is_always_beyond() -> None:
    found = compared([ours("gpt-5")], [cost("1", "gpt-6")], "openai")
    assert [(one.model, one.missing, one.percent) for one in found] == [
        ("gpt-5", "there", None),
        ("gpt-6", "here", 100),
    ]
    assert all(one.beyond(Decimal(99)) for one in found)


def test_several_lines_and_targets_of_one_model_are_added_up() -> None:
    stated = [cost("0.1"), cost("0.2"), cost("0.3", "gpt-5-2026-01-01")]
    [found] = compared([ours(usd="0.4"), ours("gpt-5-2026-01-01", usd="0.2")], stated, "openai")
    assert (found.model, found.percent) == ("gpt-5", 0)


def test_only_that_provider_and_only_the_days_of_the_export() -> None:
    groups = [ours(usd="1"), ours(usd="5", provider="azure"), ours(usd="7", day="2026-11-20"), ours("", provider="")]
    [found] = compared(groups, [cost("1")], "openai")
    assert (found.day, found.ours) == (DAY, 10**9)
    assert [one.missing for one in compared(groups, [cost("1")], "azure")] == [""]


def test_a_day_on_which_they_saw_nothing_is_compared_too() -> None:
    nothing = Stated("2026-11-20", None, {}, "cost")
    [_, found] = compared([ours(), ours(day="2026-11-20")], [cost("1"), nothing], "openai")
    assert (found.day, found.missing) == ("2026-11-20", "there")


def test_an_export_without_models_is_compared_by_day() -> None:
    [found] = compared([ours("gpt-5"), ours("gpt-6")], [cost("2", None)], "openai")
    assert (found.model, found.percent) == (ALL, 0)
    found_too = compared([ours("gpt-5")], [cost("1"), cost("0.5", None)], "openai")
    assert [(one.model, one.missing) for one in found_too] == [(OTHER, "here"), ("gpt-5", "")]


def test_usage_alone_says_nothing_of_costs_and_the_other_way_round() -> None:
    groups = [ours(input_tokens=5, cache_read_tokens=9)]
    assert {one.measure for one in compared(groups, [usage(input_tokens=5)], "openai")} == {"input_tokens"}
    assert {one.measure for one in compared(groups, [cost("1")], "openai")} == {COST}


def test_span_and_totals() -> None:
    assert span([cost("1", day="2026-11-20"), cost("1")]) == (DAY, "2026-11-20")
    totals: Any = total(compared([ours("a", usd="1"), ours("b", usd="2")], [cost("5", "b")], "openai"))
    assert totals == {COST: (3 * 10**9, 5 * 10**9)}
