"""Exports are exact, whole, the same in every format, and cannot hurt a spreadsheet."""

import csv
import io
from decimal import Decimal
from typing import Any

import orjson
import pytest

from gateway.ledger.store import StoreDown
from gateway.reports.export import ENTRY, MEDIA_TYPES, piece
from gateway.reports.turns import GATE
from tests.gateway.desk import Desk, refusal
from tests.gateway.reports.test_usage import folded
from translators.usage import BILLED

USAGE = {"input_tokens": 10, "output_tokens": 5, "web_searches": 1}


@pytest.fixture
def requests(desk: Desk) -> list[str]:
    """Three requests, oldest first; the sums below are worked by hand."""
    key = desk.make("key", key_alias="ada", tags=["prod"])
    return [
        desk.spend(key["key"], 1_500_000_001, user="ann", tags=["prod"], usage=USAGE, estimated=True),
        desk.spend(key["key"], 20, user="=cmd()", tags=["prod", "b,c"], model='"quoted", model'),
        desk.spend(key["key"], 0, ending="failed", target="", first_token_ms=7, latency_ms=9),
    ]


def lines(desk: Desk, **query: str) -> list[dict[str, Any]]:
    response = desk.ask("GET", "/admin/usage/export", query={**query, "format": "jsonl"})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == MEDIA_TYPES["jsonl"]
    return [orjson.loads(line) for line in response.content.split(b"\n") if line]


def cells(desk: Desk, **query: str) -> list[dict[str, str]]:
    response = desk.ask("GET", "/admin/usage/export", query=query)
    assert response.status_code == 200, response.text
    assert response.headers["content-disposition"] == 'attachment; filename="usage.csv"'
    return list(csv.DictReader(io.StringIO(response.content.decode(), newline="")))


def test_entries_as_json_lines(desk: Desk, requests: list[str]) -> None:
    rows = lines(desk)
    assert [row["request_id"] for row in rows] == requests
    assert [tuple(row) for row in rows] == [ENTRY] * 3
    first = rows[0]
    assert (first["cost_usd"], first["cost_nanousd"], first["requests"]) == ("1.500000001", 1_500_000_001, 1)
    assert (first["key_alias"], first["end_user"], first["tags"], first["estimated"]) == ("ada", "ann", ["prod"], True)
    assert {name: first[name] for name in BILLED if first[name]} == USAGE
    assert (rows[2]["first_token_ms"], rows[2]["target"], rows[0]["first_token_ms"]) == (7, "", None)


def test_entries_as_csv_are_the_same(desk: Desk, requests: list[str]) -> None:
    for row, line in zip(cells(desk), lines(desk), strict=True):
        for name in ("request_id", "cost_usd", "model", "at"):
            assert row[name] == line[name]
        assert Decimal(row["cost_usd"]) * 10**9 == int(row["cost_nanousd"]) == line["cost_nanousd"]
        assert row["estimated"] == str(line["estimated"]).lower()
        assert orjson.loads(row["tags"] or "[]") == line["tags"]


def test_a_callers_words_are_no_formula(desk: Desk, requests: list[str]) -> None:
    assert cells(desk)[1]["end_user"] == "'=cmd()"
    assert lines(desk)[1]["end_user"] == "=cmd()"
    for text in ("=1", "+1+1", "-1-1", "@a", "\t=1", "\r=1"):
        assert piece("csv", [{"a": text}]).strip(b'"').startswith(b"'"), text
    assert piece("csv", [{"a": "-0.5"}, {"a": -5}]) == b"-0.5\r\n-5\r\n", "an amount is an amount"


def test_groups(desk: Desk, requests: list[str]) -> None:
    rows = lines(desk, by="key,ending")
    assert [(row["key_alias"], row["ending"], row["cost_usd"], row["requests"]) for row in rows] == [
        ("ada", "done", "1.500000021", 2),
        ("ada", "failed", "0", 1),
    ]
    assert [row["cost_usd"] for row in cells(desk, by="key,ending")] == ["1.500000021", "0"]
    assert list(rows[0])[:3] == ["key_id", "ending", "key_alias"]
    assert list(cells(desk, by="key,ending")[0]) == list(rows[0])


def test_filters(desk: Desk, requests: list[str]) -> None:
    assert [row["request_id"] for row in lines(desk, end_user="ann")] == requests[:1]
    assert [row["request_id"] for row in lines(desk, tag="b,c")] == requests[1:2]
    assert lines(desk, to="2026-01-01") == []
    assert cells(desk, to="2026-01-01") == []


def test_what_has_left_the_journal_is_in_it_as_sums(desk: Desk, requests: list[str]) -> None:
    folded(desk, 2)
    rows = lines(desk)
    assert sum(row["cost_nanousd"] for row in rows) == 1_500_000_021
    assert [row["request_id"] for row in rows] == ["", "", requests[2]]
    assert sum(row["requests"] for row in rows) == 3


def test_pages(desk: Desk, requests: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.reports.export.PAGE", 2)
    monkeypatch.setattr("gateway.reports.spending.PAGE", 1)
    assert [row["request_id"] for row in lines(desk)] == requests
    assert [row["request_id"] for row in cells(desk)] == requests, "the names stand once"


def test_what_cannot_be_is_refused_before_the_first_byte(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(**query: str) -> Any:
        return desk.ask("GET", "/admin/usage/export", query=query)

    assert refusal(ask(format="xml"), 422)["param"] == "format"
    assert refusal(ask(limit="5"), 422)["param"] == "limit"
    assert refusal(desk.send("GET", "/admin/usage/export"), 401)["code"] == "invalid_admin_key"
    monkeypatch.setattr("gateway.reports.turns.WAIT_S", 0.0)
    desk.run(desk.store.lock(GATE, "worker", 60.0))
    refusal(ask(), 503)
    desk.run(desk.store.lock(GATE, "worker", 0))

    async def down(*_: Any) -> Any:
        raise StoreDown("away")

    monkeypatch.setattr(desk.store, "journal", down)
    refusal(ask(), 503)
