"""The conformance suite over the fixtures carried here; scripts/conformance runs it over all recordings."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests import conformance, recorded
from tests.fixtures import made
from tests.losses import losses
from tests.recorded import Api, Said, api
from tests.replay import FIXTURES, body_of, recording
from translators import openai
from translators.registry import TRANSLATORS
from translators.usage import Usage

ROWS = list(conformance.rows(FIXTURES))


@pytest.mark.parametrize(("row", "kind"), ROWS, ids=[f"{row['api']}-{row['id']}" for row, _ in ROWS])
def test_says_what_was_recorded(row: dict[str, Any], kind: Api) -> None:
    found = list(conformance.faults(row, kind, TRANSLATORS[kind.dialect]))
    assert not found or row["id"] in conformance.EXCUSED, found


@pytest.mark.parametrize("row", made.ALL, ids=lambda row: str(row["id"]))
def test_says_what_was_made_by_hand(row: dict[str, Any]) -> None:
    kind = api(row["api"], set(TRANSLATORS))
    assert kind is not None
    assert not list(conformance.faults(row, kind, TRANSLATORS[kind.dialect]))


def altered(row: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    text = row["response"]["body_text"]
    assert old in text
    return row | {"response": row["response"] | {"body_text": text.replace(old, new)}}


STREAM = recording("openai.chat", "07a7c2a17a05")
KIND = Api("openai", lambda body: recorded.openai(body_of(STREAM)))  # judges by what was truly recorded


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"content":"', '"content":"X', "text"),
        ('"finish_reason":"stop"', '"finish_reason":"length"', "finish length, not stop"),
        ('"finish_reason":"stop"', '"finish_reason":null', "finish None, not stop"),
        ("data: [DONE]", 'data: {"error":{"message":"no"}}\n\ndata: [DONE]', "raised bad_upstream: no"),
    ],
    ids=["text", "finish", "no finish", "error"],
)
def test_the_suite_sees_what_is_wrong(old: str, new: str, expected: str) -> None:
    found = list(conformance.faults(altered(STREAM, old, new), KIND, openai))
    assert any(fault.startswith(expected) for fault in found), found


def test_the_suite_sees_lost_usage() -> None:
    said = Said(prompt_tokens=3, completion_tokens=2, cached_tokens=1)
    found = list(conformance.differences(said, Said(), Usage()))
    assert found == ["prompt_tokens 0, not 3", "completion_tokens 0, not 2", "cached tokens 0, not 1"]


def test_the_suite_sees_a_string_that_was_lost() -> None:
    said = {"content": [{"type": "text", "text": "Hello", "citations": [{"url": "https://a.example"}]}]}
    told = {"choices": [{"message": {"content": "Hello"}}]}
    assert list(losses(json.dumps(said).encode(), [told], binary=False)) == [
        "content.citations.url was lost: 'https://a.example'"
    ]
    cited = {"choices": [{"message": {"annotations": [{"url_citation": {"url": "https://a.example"}}]}}]}
    assert not list(losses(json.dumps(said).encode(), [told, cited], binary=False))


def test_odd_rows_fail_and_the_rest_is_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = recording("openai.chat", "02d12c1dbd4a")
    bare = {name: value for name, value in good.items() if name not in ("request", "features")} | {"id": "bare"}
    bare["response"] = {**good["response"], "headers": {"content-encoding": "gzip"}}
    broken = {**bare, "id": "broken", "response": {**good["response"], "body_text": None, "body_base64": "!"}}
    (tmp_path / "openai.chat.jsonl").write_text("\n".join(map(json.dumps, [good, bare, broken])))
    (tmp_path / "nobody.knows.jsonl").write_text("{}")
    assert conformance.main([str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert "2/3" in printed.out and "FAILED  openai broken" in printed.out and "openai bare" not in printed.out
    assert "nobody.knows.jsonl" in printed.err


def test_prints_a_table_and_fails_for_an_unexcused_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = recording("openai.chat", "d6c4bb30c4a5")
    cut = altered(STREAM, "data: [DONE]\n\n", "") | {"id": "cut"}
    cut = altered(cut, '"finish_reason":"stop"', '"finish_reason":null')
    (tmp_path / "openai.chat.jsonl").write_text("\n".join(map(json.dumps, [good, cut])))
    assert conformance.main([str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "FAILED  openai cut" in printed
    assert "(all)" in printed and "1/2" in printed
    assert conformance.main([str(tmp_path / "empty")]) == 1
