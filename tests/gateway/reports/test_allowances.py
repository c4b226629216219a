"""What a counter may come to, now and in windows that are past."""

from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.ledger.store import MAX_NANOUSD, Record
from gateway.reports.allowances import Allowances
from tests.gateway.desk import Desk

NOW_S = datetime(2026, 11, 20, 16, tzinfo=UTC).timestamp()
NOON_S = NOW_S - 4 * 3600
YESTERDAY_S = NOW_S - 86_400


def allowances(desk: Desk, *records: dict[str, Any]) -> Allowances:
    for number, record in enumerate(records):
        desk.run(desk.store.create(Record.model_validate(record), f"{number:064}"))
    found = Allowances(desk.store)
    desk.run(found.read())
    found.at(NOW_S)
    return found


def key(**budget: Any) -> dict[str, Any]:
    return {"id": "k", "kind": "key", "budgets": [{"max_nanousd": 100} | budget]}


def most(found: Allowances, counter: str) -> tuple[int, int] | None:
    cap = found.cap(counter)
    return None if cap is None else (cap.nanousd, cap.most_nanousd)


@pytest.mark.parametrize(
    ("until_s", "today", "yesterday", "before"),
    [
        (NOON_S, (100, 150), (100, 150), (100, 150)),
        (YESTERDAY_S, (100, 100), (100, 150), (100, 150)),
        (NOW_S - 40 * 86_400, (100, 100), (100, 100), (100, 100)),
    ],
)
@pytest.mark.parametrize("fields", [("was_nanousd", 150, "was_until"), ("raised_nanousd", 50, "raised_until")])
def test_what_held_before_holds_in_the_windows_that_it_reached(
    desk: Desk, fields: tuple[str, int, str], until_s: float, today: Any, yesterday: Any, before: Any
) -> None:
    amount, nanousd, until = fields
    found = allowances(desk, key(duration="1d", **{amount: nanousd, until: until_s}))
    days = ("2026-11-20", "2026-11-19", "2026-10-30")
    assert [most(found, f"key:k|1d:{day}") for day in days] == [today, yesterday, before]
    assert most(found, "key:k|total") is None
    assert most(found, "key:k|1h:2026-11-20T15") is None


def test_of_two_hours_of_one_name_the_one_before_clocks_are_set_back_is_the_earlier(desk: Desk) -> None:
    until_s = datetime(2026, 10, 25, 1, 30, tzinfo=UTC).timestamp()
    found = allowances(desk, key(duration="1h", time_zone="Europe/Berlin", was_nanousd=150, was_until=until_s))
    hours = ("02+0200", "02+0100", "03+0100")
    reached = [most(found, f"key:k|1h@Europe/Berlin:2026-10-25T{hour}") for hour in hours]
    assert reached == [(100, 150), (100, 150), (100, 100)]


def test_a_raise_that_holds_is_the_cap(desk: Desk) -> None:
    found = allowances(desk, key(raised_nanousd=50, raised_until=NOW_S + 1))
    assert most(found, "key:k|total") == (150, 150)
    found.at(NOW_S + 2)
    assert most(found, "key:k|total") == (100, 150)


def test_a_name_is_taken_apart_at_its_pattern_and_its_window(desk: Desk) -> None:
    user = {"id": "a|b@key:k", "kind": "user", "budgets": [{"max_nanousd": 7}]}
    found = allowances(desk, key(model="gpt-*"), user)
    assert most(found, "gpt-*@key:k|total") == (100, 100)
    assert most(found, "user:a|b@key:k|total") == (7, 7)
    assert most(found, "key:k|total") is most(found, "nobody:k|total") is None


def test_the_cap_for_everyone_holds_where_there_is_none_of_its_own(desk: Desk) -> None:
    everyone = {"id": "*", "kind": "user", "budgets": [{"max_nanousd": 7}]}
    gone = {"id": "ann", "kind": "user", "revoked": True, "budgets": [{"max_nanousd": 90}]}
    free = {"id": "ben", "kind": "user", "revoked": True}
    found = allowances(desk, everyone, gone, free)
    assert most(found, "user:cleo|total") == (7, 7)
    assert most(found, "user:ann|total") == (7, 90), "it had a cap of its own"
    assert most(found, "user:ben|total") == (7, MAX_NANOUSD), "it had none"
