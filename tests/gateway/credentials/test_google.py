"""Tokens from a credentials file, off a token server on the loopback."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.credentials import google, renewal
from gateway.credentials.google import GoogleCredentials
from tests.replay import Reply, Request, Upstream, json_reply, refused_url
from translators.errors import LLMError
from translators.exchange import Context, UpstreamRequest

SENT = UpstreamRequest("https://host/x", {"content-type": "application/json"}, b"{}", Context())


@pytest.fixture(scope="session")
def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def service_account(folder: Path, private_key: str, url: str) -> str:
    told = {
        "type": "service_account",
        "client_email": "gate@acme.iam.gserviceaccount.com",
        "private_key": private_key,
        "private_key_id": "1",
        "token_uri": f"{url}/token",
    }
    path = folder / "account.json"
    path.write_text(json.dumps(told), encoding="utf-8")
    return str(path)


def user(folder: Path, url: str, **more: str) -> str:
    told = {"type": "authorized_user", "client_id": "i", "client_secret": "s", "refresh_token": "r", **more}
    path = folder / "user.json"
    path.write_text(json.dumps({**told, "token_uri": f"{url}/token"}), encoding="utf-8")
    return str(path)


def token(name: str, expires_in: int = 3600) -> Reply:
    return json_reply(200, {"access_token": name, "expires_in": expires_in, "token_type": "Bearer"})


def run(file: str, story: Callable[[GoogleCredentials], Awaitable[Any]]) -> Any:
    """What `story` makes of the credentials of `file`, in an event loop of its own."""

    async def told() -> Any:
        credentials = GoogleCredentials("vertex", file)
        try:
            return await story(credentials)
        finally:
            await credentials.close()

    return asyncio.run(told())


async def signed(credentials: GoogleCredentials) -> dict[str, str]:
    return dict(await credentials.signed(SENT))


async def failed(credentials: GoogleCredentials) -> LLMError:
    with pytest.raises(LLMError) as failure:
        await credentials.signed(SENT)
    return failure.value


def test_a_service_accounts_file_gives_a_token_from_its_own_token_uri(
    tmp_path: Path, private_key: str, upstream: Upstream
) -> None:
    upstream.answer(token("t-1"))
    headers = run(service_account(tmp_path, private_key, upstream.url), signed)
    assert headers == {"content-type": "application/json", "authorization": "Bearer t-1"}
    (asked,) = upstream.requests
    assert asked.path == "/token"
    assert parse_qs(asked.body.decode())["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]


def test_a_users_file_gives_one_too_and_names_the_project_that_pays(tmp_path: Path, upstream: Upstream) -> None:
    upstream.answer(token("t-1"))
    headers = run(user(tmp_path, upstream.url, quota_project_id="acme"), signed)
    assert (headers["authorization"], headers["x-goog-user-project"]) == ("Bearer t-1", "acme")
    assert parse_qs(upstream.requests[0].body.decode())["refresh_token"] == ["r"]


def test_a_workloads_file_gives_one_for_what_the_workload_itself_has(tmp_path: Path, upstream: Upstream) -> None:
    (tmp_path / "subject").write_text("subject-token", encoding="utf-8")
    told = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{upstream.url}/token",
        "credential_source": {"file": str(tmp_path / "subject")},
    }
    (tmp_path / "workload.json").write_text(json.dumps(told), encoding="utf-8")
    upstream.answer(token("t-1"))
    assert run(str(tmp_path / "workload.json"), signed)["authorization"] == "Bearer t-1"
    assert parse_qs(upstream.requests[0].body.decode())["subject_token"] == ["subject-token"]


def test_without_a_file_the_environment_says_where_it_is(
    tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", user(tmp_path, upstream.url))
    upstream.answer(token("t-1"))
    assert run("", signed)["authorization"] == "Bearer t-1"


def test_requests_that_come_at_once_share_one_fetch(tmp_path: Path, upstream: Upstream) -> None:
    upstream.handler = lambda _: token(f"t-{len(upstream.requests)}")

    async def story(credentials: GoogleCredentials) -> set[str]:
        found = await asyncio.gather(*(signed(credentials) for _ in range(50)))
        found += [await signed(credentials)]
        return {headers["authorization"] for headers in found}

    assert run(user(tmp_path, upstream.url), story) == {"Bearer t-1"}
    assert len(upstream.requests) == 1


def test_a_request_that_goes_away_does_not_take_the_fetch_with_it(tmp_path: Path, upstream: Upstream) -> None:
    upstream.answer(Reply(200, {"content-type": "application/json"}, token("t-1").pieces, first_byte_s=0.2))

    async def story(credentials: GoogleCredentials) -> str:
        gone, stays = (asyncio.create_task(signed(credentials)) for _ in range(2))
        await asyncio.sleep(0.05)
        gone.cancel()
        return (await stays)["authorization"]

    assert run(user(tmp_path, upstream.url), story) == "Bearer t-1"
    assert len(upstream.requests) == 1


def test_a_token_is_renewed_before_it_expires(
    tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(google, "LEAST_RENEW_S", 0.01)
    monkeypatch.setattr(google, "RENEW_S", 3599.9)
    upstream.handler = lambda _: token(f"t-{len(upstream.requests)}", 7200 if len(upstream.requests) == 3 else 1)

    async def story(credentials: GoogleCredentials) -> list[str]:
        first = await signed(credentials)
        await asyncio.to_thread(upstream.wait_until, lambda: len(upstream.requests) == 3)
        await asyncio.sleep(0.2)
        return [headers["authorization"] for headers in (first, await signed(credentials))]

    assert run(user(tmp_path, upstream.url), story) == ["Bearer t-1", "Bearer t-3"]
    assert len(upstream.requests) == 3


def test_a_refusal_is_our_fault_and_is_not_asked_for_again_at_once(tmp_path: Path, upstream: Upstream) -> None:
    upstream.handler = lambda _: json_reply(400, {"error": "invalid_grant", "error_description": "s-secret"})

    async def story(credentials: GoogleCredentials) -> list[LLMError]:
        return [await failed(credentials) for _ in range(3)]

    failures = run(user(tmp_path, upstream.url), story)
    assert {(failure.kind, failure.status, failure.fall_back) for failure in failures} == {("upstream_auth", 502, True)}
    assert "vertex" in failures[0].message and "secret" not in failures[0].message
    assert len(upstream.requests) == 1


def test_it_recovers_once_the_issuer_does(tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "RETRY_S", (0.01, 0.01))
    upstream.answer(json_reply(400, {"error": "invalid_grant"}))
    upstream.handler = lambda _: token("t-2")

    async def story(credentials: GoogleCredentials) -> str:
        await failed(credentials)
        await asyncio.to_thread(upstream.wait_until, lambda: len(upstream.requests) == 2)
        await asyncio.sleep(0.1)
        return (await signed(credentials))["authorization"]

    assert run(user(tmp_path, upstream.url), story) == "Bearer t-2"


def test_an_issuer_out_of_reach_is_a_failed_connection(tmp_path: Path) -> None:
    failure = run(user(tmp_path, refused_url()), failed)
    assert (failure.kind, failure.fall_back) == ("connect", True)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"type": "service_account"}', '{"type": "authorized_user"}'])
def test_a_file_that_is_none_is_told_of(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text, encoding="utf-8")
    failure = run(str(path), failed)
    assert failure.kind == "upstream_auth"
    assert str(tmp_path) not in failure.message


def test_without_google_auth_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.auth", None)
    failure = run(user(tmp_path, refused_url()), failed)
    assert failure.kind == "upstream_auth" and "the extra `vertex`" in failure.message


def test_closing_ends_a_fetch_that_hangs(tmp_path: Path, upstream: Upstream) -> None:
    def slow(_: Request) -> Reply:
        return Reply(200, {"content-type": "application/json"}, token("t").pieces, first_byte_s=0.3)

    upstream.handler = slow

    async def story(credentials: GoogleCredentials) -> None:
        await asyncio.to_thread(upstream.wait_until, lambda: len(upstream.requests) == 1)

    run(user(tmp_path, upstream.url), story)
