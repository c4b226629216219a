"""Control calls: what goes out, and what each kind of answer or silence becomes."""

import asyncio
from typing import Any

import httpx
import orjson
import pytest
from pytest_httpx import HTTPXMock

from gateway.fetch import admin_call
from translators.errors import LLMError

URL = "https://gateway.example"


def call(method: str = "GET", query: dict[str, str] | None = None, body: dict[str, Any] | None = None) -> Any:
    return asyncio.run(admin_call(f"{URL}/", "admin-key", method, "/admin/keys", query or {}, body))


def test_an_admin_call_carries_key_query_and_body(httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(status_code=201, json={"id": "key_1"})
    assert call("POST", {"limit": "1"}, {"max_budget": "0.1"}) == {"id": "key_1"}
    (request,) = httpx_mock.get_requests()
    assert (request.method, str(request.url)) == ("POST", f"{URL}/admin/keys?limit=1")
    assert request.headers["authorization"] == "Bearer admin-key"
    assert orjson.loads(request.content) == {"max_budget": "0.1"}


def test_a_refusal_keeps_its_status_and_message(httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(status_code=422, json={"error": {"message": "`a` is not known", "type": "t", "code": None}})
    with pytest.raises(LLMError) as refused:
        call()
    assert (refused.value.status, refused.value.message) == (422, "`a` is not known")


@pytest.mark.parametrize(
    ("status", "content"), [(200, b"<html>"), (200, b""), (200, b"[]"), (302, b"{}"), (500, b"{}"), (404, b"Not Found")]
)
def test_what_is_no_headgate_is_said_to_be_none(httpx_mock: HTTPXMock, status: int, content: bytes) -> None:
    httpx_mock.add_response(status_code=status, content=content)
    with pytest.raises(LLMError, match=f"{URL}/ answered {status} and not as Headgate does"):
        call()


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("refused"), httpx.ReadTimeout(""), httpx.RemoteProtocolError("x")]
)
def test_silence_names_the_url_and_never_the_key(httpx_mock: HTTPXMock, error: Exception) -> None:
    httpx_mock.add_exception(error)
    with pytest.raises(LLMError, match="no answer from") as refused:
        call()
    assert refused.value.kind == "connect"
    assert URL in refused.value.message
    assert "admin-key" not in refused.value.message
