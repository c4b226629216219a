"""The admin API as a client meets it: who may ask, what a body may be, and one shape for every refusal."""

import json

import pytest

from gateway.keys import digest
from gateway.ledger.store import StoreDown
from tests.gateway.desk import ADMIN_KEY, Desk, path_of, refusal

ENDPOINTS = [
    ("GET", "/admin/keys"),
    ("POST", "/admin/keys"),
    ("GET", "/admin/keys/key_1"),
    ("PATCH", "/admin/keys/key_1"),
    ("DELETE", "/admin/keys/key_1"),
    ("POST", "/admin/keys/key_1/rotate"),
    ("GET", "/admin/teams"),
    ("POST", "/admin/teams"),
    ("GET", "/admin/teams/team_1"),
    ("PATCH", "/admin/teams/team_1"),
    ("DELETE", "/admin/teams/team_1"),
    ("GET", "/admin/users"),
    ("POST", "/admin/users"),
    ("GET", "/admin/users/ada"),
    ("PATCH", "/admin/users/ada"),
    ("DELETE", "/admin/users/ada"),
    ("GET", "/admin/tags"),
    ("POST", "/admin/tags"),
    ("GET", "/admin/tags/batch"),
    ("PATCH", "/admin/tags/batch"),
    ("DELETE", "/admin/tags/batch"),
    ("GET", "/admin/organization"),
    ("PATCH", "/admin/organization"),
    ("GET", "/admin/usage"),
]
NAMED = {"/admin/users": {"user_id": "ada"}, "/admin/tags": {"tag": "batch"}}  # what a POST cannot do without


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_nobody_gets_in_without_the_admin_key(desk: Desk, method: str, path: str) -> None:
    token = desk.make("key")["key"]
    for headers in (
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Bearer {token}"},
        {"authorization": f"Bearer {digest(ADMIN_KEY)}"},
        {"authorization": "Bearer "},
        {"authorization": ADMIN_KEY},
        {"authorization": f"Basic {ADMIN_KEY}"},
        {"x-api-key": ADMIN_KEY},
    ):
        response = desk.send(method, path, headers=headers)
        assert refusal(response, 401)["code"] == "invalid_admin_key"
        assert response.headers["www-authenticate"] == "Bearer"
        assert ADMIN_KEY not in response.text


def test_the_admin_key_is_no_virtual_key(desk: Desk) -> None:
    assert desk.holder(ADMIN_KEY) is None


def test_a_refused_request_changes_nothing(desk: Desk) -> None:
    desk.send("POST", "/admin/keys", json={}, headers={"authorization": "Bearer wrong"})
    assert desk.get("/admin/keys")["data"] == []


NO_OBJECT = [b"{", b"[]", b'"a"', b"null", b"1", b"\xff\xfe", b"[" * 100_000]
NO_JSON = [b'{"max_budget": NaN}', b'{"key_alias": "\\ud800"}']


@pytest.mark.parametrize("body", NO_OBJECT + NO_JSON)
def test_what_is_no_json_object_is_a_400(desk: Desk, body: bytes) -> None:
    assert refusal(desk.ask("POST", "/admin/keys", body), 400)["code"] == "invalid_json"


def test_a_field_that_cannot_be_is_a_422_that_names_it(desk: Desk) -> None:
    error = refusal(desk.ask("POST", "/admin/keys", {"rpm": 5}), 422)
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", "rpm", "unknown_parameter")
    error = refusal(desk.ask("POST", "/admin/teams", {"max_budget": 1, "budget_duration": "1y"}), 422)
    assert error["param"] == "budget_duration"
    error = refusal(desk.ask("POST", "/admin/keys", {"budget_duration": "1d"}), 422)
    assert error["param"] == "budget_duration"
    error = refusal(desk.ask("GET", "/admin/keys", query={"page": "2"}), 422)
    assert error["param"] == "page"
    error = refusal(desk.ask("GET", "/admin/usage?limit=1&limit=2"), 422)
    assert error["param"] == "limit"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"0.1", "0.1"),
        (b"0.000000001", "0.000000001"),
        (b"1234567.123456789", "1234567.123456789"),
        (b"8999999.999999999", "8999999.999999999"),
        (b"1e-9", "0.000000001"),
        (b"0.30000000000000000000000000", "0.3"),
        (b"25", "25"),
        (b'"0.1"', "0.1"),
        (b"0", "0"),
        (b"null", None),
    ],
)
def test_money_is_exact_from_the_body_to_the_answer(desk: Desk, written: bytes, shown: str | None) -> None:
    body = b'{"max_budget": %b, "metadata": {"share": 0.1}}' % written
    response = desk.ask("POST", "/admin/keys", body)
    made = response.json()
    assert response.status_code == 201, response.text
    assert made["max_budget"] == shown
    assert made["metadata"] == {"share": 0.1}
    for changed in ({"flag": 1}, {"flag": True}, {"flag": 1.0}):  # which Python takes for the same
        answer = desk.ask("PATCH", f"/admin/keys/{made['id']}", {"metadata": changed}).text
        assert json.dumps(changed, separators=(",", ":")) in answer
    error = refusal(desk.ask("POST", "/admin/keys", b'{"metadata": {"ticket": 123456789012345678901}}'), 422)
    assert error["param"] == "metadata" and "64 bits" in error["message"]
    assert desk.get(path_of(made))["max_budget"] == shown


def test_a_fraction_of_a_nano_dollar_is_refused_not_rounded(desk: Desk) -> None:
    for written in (b"0.30000000000000004", b"0.0000000001", b"1e-10"):
        error = refusal(desk.ask("POST", "/admin/keys", b'{"max_budget": %b}' % written), 422)
        assert error["param"] == "max_budget"


def test_a_body_over_a_mebibyte_is_a_413(desk: Desk) -> None:
    fits = {"metadata": {"a": "a" * 1_000_000}}
    assert desk.ask("POST", "/admin/keys", fits).status_code == 201
    assert refusal(desk.ask("POST", "/admin/keys", {"metadata": {"a": "a" * 1_048_576}}), 413)["code"]


def test_answers_are_json_that_nobody_keeps(desk: Desk) -> None:
    response = desk.ask("POST", "/admin/keys")
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"


def test_a_store_that_is_down_is_a_503(desk: Desk) -> None:
    async def down(*_: object) -> None:
        raise StoreDown("no answer")

    for name in ("get", "list", "create", "journal"):
        setattr(desk.store, name, down)
    for method, path in ENDPOINTS:
        response = desk.ask(method, path, NAMED.get(path) if method == "POST" else None)
        assert refusal(response, 503)["code"] == "ledger_unavailable"
        assert response.headers["retry-after"] == "1"


IDS = ["a/b", "/", "a/", "//a", "a?b=c&d#e", "a b+c", "a%2Fb", "ünïcode 日本", "a\nb", "a\n", "*", "...", "x/../y", "~"]


@pytest.mark.parametrize("id", IDS)
def test_an_id_of_any_text_goes_through_a_path(desk: Desk, id: str) -> None:
    made = desk.make("user", user_id=id, rpm_limit=1)
    assert (made["id"], made["user_id"]) == (id, id)
    assert desk.get(path_of(made)) == made
    assert desk.change(made, rpm_limit=2) == {**made, "rpm_limit": 2}
    assert desk.revoke(made)["id"] == id
    assert [record["id"] for record in desk.get("/admin/users")["data"]] == [id]
    for other in ("a", "b"):
        refusal(desk.ask("GET", f"/admin/users/{other}"), 404)


def test_the_openapi_document_is_open_and_holds_no_secret(desk: Desk) -> None:
    desk.make("key", key_alias="confidential")
    response = desk.send("GET", "/admin/openapi.json")
    assert response.status_code == 200
    assert json.loads(response.content)["openapi"] == "3.1.0"
    assert "confidential" not in response.text
