"""Signatures by the credential chain, against botocore's own client and a credential server on the loopback."""

import asyncio
import builtins
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]

from gateway.credentials.aws import LARGE_BYTES, AwsCredentials
from tests.replay import Reply, Upstream, json_reply
from translators.errors import LLMError
from translators.exchange import Context, UpstreamRequest

URL = "https://bedrock-runtime.eu-west-1.amazonaws.com/model/us.anthropic.claude-x-v1%3A0/converse"
SENT = UpstreamRequest(URL, {"content-type": "application/json", "x-team": "a"}, b'{"messages":[]}', Context())


@pytest.fixture(autouse=True)
def _no_credentials_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (
        "AWS_BEARER_TOKEN_BEDROCK",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


@pytest.fixture
def static(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session")


def run(story: Callable[[AwsCredentials], Awaitable[Any]], region: str = "eu-west-1") -> Any:
    """What `story` makes of the credentials of a provider, in an event loop of its own."""

    async def told() -> Any:
        credentials = AwsCredentials("bedrock", region)
        try:
            return await story(credentials)
        finally:
            await credentials.close()

    return asyncio.run(told())


def signature(headers: Any, sent: UpstreamRequest, region: str = "eu-west-1") -> str:
    """The authorization that botocore makes for the same request at the same time."""
    request = AWSRequest("POST", sent.url, headers=dict(sent.headers), data=sent.body)
    request.context["timestamp"] = headers["x-amz-date"]
    signer = SigV4Auth(Credentials("AKIDEXAMPLE", "secret", "session"), "bedrock", region)
    request.headers["X-Amz-Date"] = headers["x-amz-date"]
    request.headers["X-Amz-Security-Token"] = "session"
    text = signer.string_to_sign(request, signer.canonical_request(request))
    return str(signer.signature(text, request))


@pytest.mark.usefixtures("static")
@pytest.mark.parametrize("body", [SENT.body, b"x" * LARGE_BYTES], ids=["small", "large"])
def test_a_request_is_signed_with_the_keys_of_the_environment(body: bytes) -> None:
    sent = UpstreamRequest(URL, SENT.headers, body, Context())
    headers = run(lambda credentials: credentials.signed(sent))
    assert headers["content-type"] == "application/json" and headers["x-team"] == "a"
    assert headers["x-amz-security-token"] == "session"
    authorization = headers["authorization"]
    assert authorization.startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert "/eu-west-1/bedrock/aws4_request" in authorization
    assert "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-team" in authorization
    assert authorization.endswith(f"Signature={signature(headers, sent)}")


@pytest.mark.usefixtures("static")
def test_the_path_is_signed_with_its_escapes_escaped_again() -> None:
    request = AWSRequest("POST", URL, data=b"")
    path = SigV4Auth(Credentials("a", "b"), "bedrock", "x").canonical_request(request).split("\n")[1]
    assert path == "/model/us.anthropic.claude-x-v1%253A0/converse"


def test_a_bearer_token_of_the_environment_needs_no_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "tok")
    headers = run(lambda credentials: credentials.signed(SENT))
    assert headers == {**SENT.headers, "authorization": "Bearer tok"}


def test_without_credentials_the_provider_is_out_and_says_why() -> None:
    with pytest.raises(LLMError) as caught:
        run(lambda credentials: credentials.signed(SENT))
    assert caught.value.kind == "upstream_auth"
    assert "'bedrock'" in caught.value.message and "chain" in caught.value.message


@pytest.mark.usefixtures("static")
def test_without_botocore_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    true_import = builtins.__import__

    def no_botocore(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("botocore"):
            raise ImportError(name)
        return true_import(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", no_botocore)
    with pytest.raises(LLMError, match=r"the extra `bedrock`"):
        run(lambda credentials: credentials.signed(SENT))


def keys(name: str, expires_in_s: float) -> Reply:
    """A container's credential server."""
    expires = datetime.now(UTC) + timedelta(seconds=expires_in_s)
    told = {"AccessKeyId": name, "SecretAccessKey": "s", "Token": "t", "RoleArn": "r"}
    return json_reply(200, {**told, "Expiration": expires.isoformat()})


def key_of(headers: Mapping[str, str]) -> str:
    return headers["authorization"].partition("Credential=")[2].partition("/")[0]


def test_a_containers_keys_are_fetched_once_for_all_who_wait(
    monkeypatch: pytest.MonkeyPatch, upstream: Upstream
) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{upstream.url}/keys")
    upstream.handler = lambda _: keys(f"AK{len(upstream.requests)}", 3600)

    async def story(credentials: AwsCredentials) -> set[str]:
        found = await asyncio.gather(*(credentials.signed(SENT) for _ in range(20)))
        return {key_of(headers) for headers in [*found, await credentials.signed(SENT)]}

    assert run(story) == {"AK1"}
    assert len(upstream.requests) == 1


def test_keys_that_have_expired_are_renewed_before_they_are_used_again(
    monkeypatch: pytest.MonkeyPatch, upstream: Upstream
) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{upstream.url}/keys")
    # botocore asks once more at once, since so little is left
    upstream.handler = lambda _: keys(f"AK{len(upstream.requests)}", 1.5 if len(upstream.requests) < 3 else 3600)

    async def story(credentials: AwsCredentials) -> list[str]:
        first = await credentials.signed(SENT)
        await asyncio.sleep(1.6)
        return [key_of(first), key_of(await credentials.signed(SENT))]

    assert run(story) == ["AK2", "AK3"]


def test_a_profile_of_a_file_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("[team]\naws_access_key_id = AKPROFILE\naws_secret_access_key = s\n")
    monkeypatch.setenv("AWS_PROFILE", "team")
    headers = run(lambda credentials: credentials.signed(SENT), region="")
    assert "Credential=AKPROFILE/" in headers["authorization"] and "/us-east-1/" in headers["authorization"]
    assert "x-amz-security-token" not in headers
