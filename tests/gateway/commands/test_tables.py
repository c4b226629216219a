"""Tables line up, and nothing in a name can move a terminal's cursor."""

from gateway.commands import tables


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


RATES = dict.fromkeys(("rpm_limit", "tpm_limit", "rpd_limit", "tpd_limit", "max_parallel_requests"))


def test_caps_limits_and_states_are_told_in_a_word() -> None:
    held = {"id": "key_1", "spend_usd": "0.5", "held_usd": "0", "revoked": True} | RATES
    caps = [
        {"cap_usd": "5", "budget_duration": "1d", "model": None, "soft": False},
        {"cap_usd": "9", "budget_duration": None, "model": "gpt-*", "soft": True},
    ]
    limits = [{"model": "o3"} | RATES | {"max_parallel_requests": 2}]
    row = held | {"windows": caps, "limits": limits, "tpd_limit": 7}
    told = ["key_1", "0.5", "0", "5/1d", "9/total(gpt-*)~", "tpd=7", "parallel=2(o3)", "revoked"]
    assert tables.records("user", [row], 0.0).splitlines()[1].split() == told
    key = row | {"key_alias": "ci", "team_id": None, "models": [], "expires": None}
    told = ["key_1", "ci", "-", *told[1:-1], "all", "-", "revoked"]
    assert tables.records("key", [key], 0.0).splitlines()[1].split() == told
    for expires, revoked, state in (
        ("1970-01-01T00:01:40Z", False, "expired"),
        ("1970-01-01T00:01:40.001Z", False, "live"),
        ("1970-01-01T00:01:40Z", True, "revoked"),
        (None, False, "live"),
    ):
        one = key | {"expires": expires, "revoked": revoked}
        assert tables.records("key", [one], 100.0).splitlines()[1].split()[-1] == state
