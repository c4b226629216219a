from typing import Any

import pytest

from translators.errors import LLMError
from translators.gemini_arguments import StreamedArguments


def put(*pieces: dict[str, Any]) -> dict[str, Any]:
    arguments = StreamedArguments({})
    for piece in pieces:
        arguments.add([piece])
    return arguments.args


def test_a_string_comes_in_pieces() -> None:
    first = {"jsonPath": "$.id", "stringValue": "A", "willContinue": True}
    assert put(first, {"jsonPath": "$.id", "stringValue": "B"}, {"jsonPath": "$.id", "stringValue": ""}) == {"id": "AB"}


def test_paths_lead_into_objects_and_lists() -> None:
    assert put(
        {"jsonPath": "$.foo.bar[0].data", "numberValue": 3.0},
        {"jsonPath": "$.foo.bar[1]['a b']", "boolValue": False},
        {"jsonPath": '$.foo["c.d"]', "nullValue": "NULL_VALUE"},
        {"jsonPath": "$.half", "numberValue": 0.5},
    ) == {"foo": {"bar": [{"data": 3}, {"a b": False}], "c.d": None}, "half": 0.5}


@pytest.mark.parametrize("path", ["", "$", "$..", "$.a[2]", "$[0]", "$.s.x", "$.a[999999999]", "$.a[", "$.s[0]"])
def test_a_path_that_leads_nowhere_is_the_providers_fault(path: str) -> None:
    with pytest.raises(LLMError) as caught:
        put({"jsonPath": "$.s", "stringValue": "x"}, {"jsonPath": path, "stringValue": "y"})
    assert caught.value.kind == "bad_upstream"
