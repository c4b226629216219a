"""`headgate bench`: the figures of a gateway that runs, and one plain sentence where there are none."""

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli import main
from tests.replay import Reply, Upstream, event_reply, json_reply, refused_url
from tests.running import Running, in_thread

FEW = ["--requests", "20", "--streams", "4", "--concurrency", "2", "--max-completion-tokens", "3"]
ANSWER = {"choices": [{"message": {"role": "assistant", "content": "Hi"}}]}


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Running]:
    with in_thread(None, {"HEADGATE_DATA": str(tmp_path / "ledger.db")}) as running:
        yield running


def test_the_figures_of_a_gateway(gateway: Running, capsys: pytest.CaptureFixture[str]) -> None:
    key, pid = gateway.new_key(max_budget="1"), str(os.getpid())
    assert main(["bench", f"{gateway.url}/v1", "--key", key, *FEW, "--pid", pid, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    one, many, streams = told["whole_one_at_a_time"], told["whole"], told["streams"]
    assert [part["requests"] for part in (one, many, streams)] == [20, 20, 4]
    assert [part["concurrency"] for part in (one, many, streams)] == [1, 2, 2]
    for part in (one, many, streams):
        assert part["errors"] == {}
        assert 0 < part["latency_ms"]["p50"] <= part["latency_ms"]["p90"] <= part["latency_ms"]["p99"]
        assert 0 <= part["overhead_ms"]["p50"] <= part["latency_ms"]["p99"]
        assert part["cpu_us"] > 0
        assert part["per_second"] > 0
    assert 0 < streams["first_token_ms"]["p50"] < streams["latency_ms"]["p99"]
    assert streams["between_tokens_ms"]["p99"] > 0
    assert one["first_token_ms"] is None
    assert told["memory_bytes"] > 10_000_000
    assert len(gateway.entries(limit="1000")) == 20 + 20 + 4 + 2 + 4  # all were asked with the key, and billed


def test_the_same_as_a_page(
    gateway: Running, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADGATE_KEY", f"{gateway.new_key()}\n")  # as a mounted file has it
    assert main(["bench", f"{gateway.url}/v1/", *FEW]) == 0
    printed = capsys.readouterr()
    assert "at most 50 requests of max_completion_tokens 3" in printed.err
    head, *rows = printed.out.splitlines()
    assert head.lstrip().split("  ") == ["REQUESTS", "A SECOND", "P50 MS", "P90 MS", "P99 MS", "ERRORS"]
    assert [row.split("  ")[0] for row in rows[:3]] == [
        "whole answers, one at a time",
        "whole answers, 2 at once",
        "streams, 2 at once: to the first token",
    ]
    assert all(row.endswith("none") for row in rows[:3])
    assert rows[3].startswith("  between two tokens")
    assert rows[5].startswith("its own time as Headgate tells it")


def test_what_is_refused_on_the_way_is_counted(upstream: Upstream, capsys: pytest.CaptureFixture[str]) -> None:
    stream = event_reply({"choices": [{"delta": {"content": "Hi"}}]})
    upstream.answer(json_reply(200, ANSWER), stream)  # the first of each is looked at
    upstream.handler = lambda _: json_reply(429, {"error": {"message": "slower"}})
    assert main(["bench", f"{upstream.url}/v1", *FEW]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.rpartition("  ")[2] for row in rows[1:4]] == ["20 × 429", "20 × 429", "4 × 429"]
    assert rows[1].split()[-6:-3] == ["-", "-", "-"]


def failed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What it says, in one line, where it has no figures."""
    assert main(["bench", *words, *FEW]) == 1
    printed = capsys.readouterr()
    assert not printed.out
    _, name, said = printed.err.splitlines()[-1].partition("headgate: ")
    assert name
    return said


def test_what_a_gateway_refuses_is_said_plainly(gateway: Running, capsys: pytest.CaptureFixture[str]) -> None:
    url, key = f"{gateway.url}/v1", gateway.new_key()
    assert "answered 401" in (said := failed(capsys, url, "--key", "sk-hg-wrong"))
    assert "--key or HEADGATE_KEY" in said
    assert "`unheard-of` a model there" in failed(capsys, url, "--key", key, "--model", "unheard-of")
    assert "the base URL, with its /v1" in failed(capsys, gateway.url, "--key", key)


def test_nobody_there_is_said_plainly(capsys: pytest.CaptureFixture[str]) -> None:
    assert "could not be reached" in failed(capsys, f"{refused_url()}/v1")
    assert "no process 4194304" in failed(capsys, f"{refused_url()}/v1", "--pid", "4194304")  # above Linux's largest


@pytest.mark.parametrize("reply", [json_reply(200, {"object": "list"}), Reply(200, {}, (b"<html>It works</html>",))])
def test_who_does_not_speak_as_openai_does_is_told_so(
    upstream: Upstream, reply: Reply, capsys: pytest.CaptureFixture[str]
) -> None:
    upstream.answer(reply)
    assert "does not answer as OpenAI does" in failed(capsys, f"{upstream.url}/v1")


def test_another_machine_is_not_asked_without_leave(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    far = "http://gateway.invalid/v1"
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert "add --yes" in failed(capsys, far)
    assert "could not be reached" in failed(capsys, far, "--yes")
    for answer, said in (("n\n", "not measured"), ("\n", "not measured"), ("y\n", "could not be reached")):
        terminal = io.StringIO(answer)
        monkeypatch.setattr(terminal, "isatty", lambda: True)
        monkeypatch.setattr("sys.stdin", terminal)
        assert said in failed(capsys, far)


@pytest.mark.parametrize("url", ["127.0.0.1:4000/v1", "ftp://host/v1", "http://", "http://host:99999/v1"])
def test_what_is_no_base_url_is_status_2(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", url])
    assert ended.value.code == 2
    assert "must be a base URL such as" in capsys.readouterr().err
