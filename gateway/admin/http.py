"""The admin API over HTTP: the admin key, bodies and queries in, one shape of refusal out."""

import hmac
import json
from collections.abc import AsyncIterator, Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any, Protocol

import orjson
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from gateway.admin.forms import read
from gateway.admin.openapi import document
from gateway.admin.operations import OPERATIONS, Operation, answer, store_down
from gateway.keys import digest
from gateway.ledger.store import Store, StoreDown
from gateway.reports import export
from gateway.reports.report_forms import ExportQuery
from translators.errors import LLMError

MAX_BODY_BYTES = 1 << 20
ANY_TEXT = ("/admin/users/{id}", "/admin/tags/{id}")  # whose ids are the callers' words


class Gateway(Protocol):
    """What these endpoints need of the worker."""

    @property
    def store(self) -> Store: ...
    @property
    def admin_digest(self) -> str: ...
    @property
    def clock(self) -> Callable[[], float]: ...


async def _endpoint(operation: Operation, request: Request) -> Response:
    gateway: Gateway = request.state.gateway
    try:
        _authenticate(request, gateway.admin_digest)
        given = _json(await _body(request)) if operation.has_body else _query(request)
        id = request.path_params.get("id", "")
        answered = await answer(operation, gateway.store, gateway.clock(), id, given)
    except LLMError as error:
        return _refusal(error)
    return _response(operation.status, answered)


async def usage_export(request: Request) -> Response:
    """GET /admin/usage/export: as a stream, cut off without its end where the store fails half-way."""
    gateway: Gateway = request.state.gateway
    try:
        _authenticate(request, gateway.admin_digest)
        query = read(ExportQuery, _query(request))
        pieces = export.stream(gateway.store, gateway.clock(), query)
        first = await anext(pieces)
    except LLMError as error:
        return _refusal(error)
    except StoreDown:
        return _refusal(store_down())
    headers = {"cache-control": "no-store", "content-disposition": f'attachment; filename="usage.{query.format}"'}
    return StreamingResponse(_after(first, pieces), headers=headers, media_type=export.MEDIA_TYPES[query.format])


async def _after(first: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in pieces:
        yield piece


async def openapi_json(request: Request) -> Response:
    """GET /admin/openapi.json: open to all, since it is the same everywhere and holds no secret."""
    return _response(200, document())


def _authenticate(request: Request, admin_digest: str) -> None:
    """Raises LLMError("authentication") unless the admin key came along. Digests are compared in constant time."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    given = token.strip().encode("latin-1").decode(errors="replace")  # headers are read as Latin-1: back to its bytes
    if scheme.lower() != "bearer" or not hmac.compare_digest(digest(given), admin_digest):
        raise LLMError(
            "authentication",
            "The admin key is missing or wrong: send it as `Authorization: Bearer …`",
            code="invalid_admin_key",
            headers={"www-authenticate": "Bearer"},
        )


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise LLMError("too_large", f"The body is over {MAX_BODY_BYTES} bytes")
    except ClientDisconnect:
        raise LLMError("invalid_request", "The body ended early") from None
    return bytes(body)


def _json(body: bytes) -> dict[str, Any]:
    """A JSON object, its numbers as they were written; no body at all is {}. Raises LLMError with status 400."""
    if not body.strip():
        return {}
    try:
        orjson.loads(body)  # stricter than json: no NaN, no lone surrogates
        exact = json.loads(body, parse_float=Decimal)  # 0.1 stays 0.1
    except (ValueError, RecursionError):
        raise LLMError("invalid_request", "The body is not JSON", code="invalid_json") from None
    if not isinstance(exact, dict):
        raise LLMError("invalid_request", "The body must be a JSON object", code="invalid_json")
    if "metadata" in exact:  # given back as JSON: plain numbers
        exact["metadata"] = json.loads(body)["metadata"]
    return exact


def _query(request: Request) -> dict[str, str]:
    """Raises LLMError with status 422 for a parameter that is given twice."""
    given = request.query_params.multi_items()
    names = [name for name, _ in given]
    for name in names:
        if names.count(name) > 1:
            raise LLMError("invalid_request", f"`{name}` is given twice", param=name, code="invalid_value", status=422)
    return dict(given)


def _response(status: int, content: Mapping[str, Any]) -> Response:
    headers = {"cache-control": "no-store"}  # a token may be in it
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


def _refusal(error: LLMError) -> Response:
    response = _response(error.status, error.body())
    response.headers.update(error.headers)
    if error.retry_after_s is not None:
        response.headers["retry-after"] = str(round(error.retry_after_s))
    return response


class _Rest(Convertor[str]):
    """Whatever stands in the rest of a path, slashes and line breaks too: end users are called anything."""

    regex = r"(?s:.+)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("rest", _Rest())


def _route(operation: Operation) -> Route:
    path = operation.path.replace("{id}", "{id:rest}") if operation.path in ANY_TEXT else operation.path
    return Route(path, partial(_endpoint, operation), methods=[operation.method])


routes = [
    *(_route(operation) for operation in OPERATIONS.values()),
    Route("/admin/usage/export", usage_export),
    Route("/admin/openapi.json", openapi_json),
]
