"""Tables line up, and nothing in a name can move a terminal's cursor."""

from gateway import tables


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    rows = [{"a": "1", "b": "x"}, {"a": "1000", "b": "y"}]
    text = tables.table(rows, [("A", lambda row: row["a"]), ("LONG", lambda row: row["b"])])
    assert text.splitlines() == ["A     LONG", "1     x", "1000  y"]


def test_a_table_of_nothing_is_its_header() -> None:
    assert tables.groups(["team", "day"], []) == "TEAM ID  DAY  SPENT USD  REQUESTS  TOKENS"


def test_control_characters_are_not_printed() -> None:
    row = {"at": "t", "request_id": "r", "key_id": "k", "key_alias": None, "model": "\x1b[2Jdemo", "target": ""}
    cost = {"cost_usd": "1", "estimated": True, "tokens": {"input_tokens": 3}, "ending": "done"}
    text = tables.entries([row | cost])
    assert "\x1b" not in text
    assert text.splitlines()[1].split() == ["t", "r", "k", "?[2Jdemo", "-", "1", "~", "input=3", "done"]


def test_caps_and_states_are_told_in_a_word() -> None:
    key = {"id": "key_1", "key_alias": "ci", "team_id": None, "spend_usd": "0.5", "held_usd": "0", "expires": None}
    caps = [{"max_budget": "5", "budget_duration": "1d"}, {"max_budget": "9", "budget_duration": None}]
    text = tables.records("key", [{**key, "windows": caps, "models": [], "revoked": True}])
    assert text.splitlines()[1].split() == ["key_1", "ci", "-", "0.5", "0", "5/1d", "9/total", "all", "-", "revoked"]
