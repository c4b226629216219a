"""The OpenAPI document tells of every route, and of nothing that is not there."""

import json
import re

from starlette.routing import Route

from gateway.admin.http import routes
from gateway.admin.openapi import document
from gateway.admin.operations import OPERATIONS


def test_every_admin_route_is_in_it_and_nothing_else() -> None:
    described = {(path, method.upper()) for path, methods in document()["paths"].items() for method in methods}
    served = {
        (route.path.replace("{id:rest}", "{id}"), method)
        for route in routes
        if isinstance(route, Route)
        for method in route.methods or ()
    }
    assert described == {(path, method) for path, method in served if method != "HEAD"}


def test_every_reference_leads_somewhere() -> None:
    text = json.dumps(document())
    schemas = document()["components"]["schemas"]
    referred = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    assert referred == set(schemas)


def test_every_field_is_described_as_it_is_written() -> None:
    schemas = document()["components"]["schemas"]
    for operation in OPERATIONS.values():
        if operation.has_body:
            assert set(schemas[operation.asks.__name__].get("properties", {})) == set(operation.asks.model_fields)
            assert schemas[operation.asks.__name__]["additionalProperties"] is False
    query = document()["paths"]["/admin/usage"]["get"]["parameters"]
    names = [field["name"] for field in query]
    assert {"key_alias", "team_id", "by", "from", "to", "limit"} <= set(names)
    assert "start" not in names


def test_all_but_the_document_itself_needs_the_admin_key() -> None:
    assert document()["security"] == [{"admin_key": []}]
    open_to_all = [
        path
        for path, methods in document()["paths"].items()
        for described in methods.values()
        if described.get("security") == []
    ]
    assert open_to_all == ["/admin/openapi.json"]


def test_ids_in_a_path_are_parameters() -> None:
    for path, methods in document()["paths"].items():
        for described in methods.values():
            in_path = [field["name"] for field in described.get("parameters", []) if field["in"] == "path"]
            assert in_path == re.findall(r"{(\w+)}", path)
