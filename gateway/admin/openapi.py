"""The admin API's OpenAPI 3.1 document, made from its table of operations and their models."""

from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.admin.answers import FaultAnswer
from gateway.admin.operations import OPERATIONS, Operation
from gateway.reports.report_forms import ExportQuery

Json = dict[str, Any]
API_VERSION = "1"  # rises when a caller must change
REF = "#/components/schemas/{model}"
REFUSALS = {
    400: "The body is not JSON",
    401: "The admin key is missing or wrong",
    404: "There is none of that id",
    409: "The alias or id is taken, or it is revoked",
    413: "The body is too large",
    422: "A field is unknown or its value cannot be: `param` names it",
    503: "The ledger's store does not answer",
}
ABOUT = (
    "Amounts are USD: numbers or decimal strings when written, exact decimal strings when read. Moments are ISO 8601. "
    "A field that is not known is refused with 422, never ignored."
)

ITSELF: Json = {
    "operationId": "openapi",
    "summary": "This document.",
    "security": [],
    "responses": {
        "200": {"description": "Done", "content": {"application/json": {"schema": {"type": "object"}}}},
    },
}


@cache
def document() -> Json:
    """The whole document, which depends on nothing but this code."""
    paths: Json = {}
    for name, operation in OPERATIONS.items():
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(name, operation)
    paths["/admin/usage/export"] = {"get": _export()}
    paths["/admin/openapi.json"] = {"get": ITSELF}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Headgate's admin API", "version": API_VERSION, "description": ABOUT},
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"admin_key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"admin_key": []}],
    }


def _described(name: str, operation: Operation) -> Json:
    described: Json = {
        "operationId": name,
        "summary": operation.about,
        "parameters": _parameters(operation),
        "responses": {str(operation.status): _content("Done", operation.answers)}
        | {str(status): _content(why, FaultAnswer) for status, why in REFUSALS.items() if _can(operation, status)},
    }
    if operation.has_body:
        described["requestBody"] = {"required": False, **_content("What to put there", operation.asks)}
    return described


def _export() -> Json:
    """The one answer that is no JSON object, but a file."""
    text = {"schema": {"type": "string"}}
    described: Json = {
        "operationId": "usage_export",
        "summary": "The journal's entries, or with `by` their sums, as a file.",
        "parameters": _query_of(ExportQuery),
        "responses": {"200": {"description": "Done", "content": {"text/csv": text, "application/jsonl": text}}},
    }
    refused = {str(status): _content(REFUSALS[status], FaultAnswer) for status in (401, 422, 503)}
    return described | {"responses": {**described["responses"], **refused}}


def _query_of(query: type[BaseModel]) -> list[Json]:
    properties = query.model_json_schema().get("properties", {})
    return [{"name": name, "in": "query", "required": False, "schema": schema} for name, schema in properties.items()]


def _can(operation: Operation, status: int) -> bool:
    """Whether `operation` can be refused with `status`."""
    if status in (400, 413):
        return operation.has_body
    if status == 404:
        return "{id}" in operation.path
    return status != 409 or operation.has_body


def _parameters(operation: Operation) -> list[Json]:
    parameters: list[Json] = []
    if "{id}" in operation.path:
        parameters.append({"name": "id", "in": "path", "required": True, "schema": {"type": "string"}})
    if not operation.has_body:
        parameters += _query_of(operation.asks)
    return parameters


def _schemas() -> Json:
    asked = {(operation.asks, "validation") for operation in OPERATIONS.values() if operation.has_body}
    answered = {(operation.answers, "serialization") for operation in OPERATIONS.values()}
    models: list[tuple[type[BaseModel], Any]] = sorted(asked | answered, key=lambda pair: pair[0].__name__)
    _, schema = models_json_schema([*models, (FaultAnswer, "serialization")], ref_template=REF)
    definitions: Json = schema["$defs"]
    return definitions


def _content(description: str, model: type[BaseModel]) -> Json:
    schema = {"$ref": REF.format(model=model.__name__)}
    return {"description": description, "content": {"application/json": {"schema": schema}}}
