"""What a newer collection says of the prices in force."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from gateway.prices.diff import Change, difference, told
from gateway.prices.price_list import PriceList, Row

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def held(**models: Any) -> dict[str, Row]:
    return dict(PriceList.model_validate({"models": models}).models)


def test_rows_are_new_or_gone_or_at_other_rates() -> None:
    ours = held(
        same={"input": 1, "as_of": "2026-10"},
        dearer={"input": 2, "output": 8, "as_of": "2026-10", "when": [{"service_tier": "flex", "input": 1}]},
        gone={"input": 1, "as_of": "2026-10"},
        mine={"input": 1},
    )
    facts: dict[str, Any] = {
        "same": {"input": 1},
        "dearer": {"input": 3, "cache_read": 1, "when": [{"service_tier": "flex", "input": 1.5}]},
        "fresh": {"input": 1, "output": 2},
    }
    found = difference(ours, facts, NOW)
    assert (list(found.new), found.gone) == (["fresh"], ["gone"])
    assert [(*change, change.percent) for change in found.changed] == [
        ("dearer", "input", 2, 3, 50),
        ("dearer", "output", 8, None, None),
        ("dearer", "input (service_tier: flex)", 1, Decimal("1.5"), 50),
        ("dearer", "cache_read", None, 1, None),
    ]


def test_a_condition_is_told_with_its_rate() -> None:
    when = [{"region": "eu", "multiply": "1.1"}, {"hours_utc": "00:00-06:00", "days": "sat-sun", "input": 1}]
    found = difference(held(m={"input": 2, "when": when}), {"m": {"input": 2}}, NOW)
    assert [change.rate for change in found.changed] == [
        "multiply (region: eu)",
        "input (hours_utc: 00:00-06:00, days: sat sun)",
    ]


def test_the_version_in_force_is_compared() -> None:
    ours = held(
        m=[{"input": 1}, {"since": "2026-11-01", "input": 2}, {"since": "2026-12-01", "input": 3}],
        later={"since": "2026-12-01", "input": 1},
    )
    facts = {"m": {"input": 2}, "later": {"input": 9}}
    assert difference(ours, facts, NOW).changed == []
    assert difference(ours, facts, datetime(2026, 12, 1, tzinfo=UTC)).changed == [
        Change("m", "input", Decimal(3), Decimal(2)),
        Change("later", "input", Decimal(1), Decimal(9)),
    ]


def test_as_json_figures_are_exact_strings() -> None:
    found = difference(held(m={"input": "0.1", "as_of": "2026-10"}), {"m": {"input": "0.30"}, "n": {"output": 5}}, NOW)
    assert told(found) == {
        "new": [{"name": "n", "rates": {"output": "5"}}],
        "gone": [],
        "changed": [{"name": "m", "rate": "input", "old": "0.1", "new": "0.3", "percent": "200"}],
    }
