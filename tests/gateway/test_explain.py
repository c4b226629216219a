"""What would become of a request: exactly what is then sent, its secrets masked, and nothing spent."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from gateway import cli
from tests.replay import Upstream, recorded, recording
from tests.running import Running, configured

# output at 15 USD per million tokens: 100 are at most 1,500,000 nano-USD, and input comes on top at 3 a token
PRICES = """
models:
  m: &m {input: 3, cache_read: 0.3, cache_write: 3.75, output: 15}
  claude-haiku-5-5: *m
  o: {input: 1, output: 2}
"""
SECRET = "sk-of-the-provider"
ROUTES = f"""
providers:
  claude: {{{{dialect: anthropic, base_url: "{{url}}", api_key: {SECRET}, headers: {{{{x-tenant: hush}}}}}}}}
  compatible: {{{{dialect: openai, base_url: "{{url}}/v1", api_key: {SECRET}}}}}
routes:
  both: {{{{targets: [{{{{model: claude/m}}}}], fallback: [compatible/o]}}}}
  half: {{{{targets: [{{{{model: compatible/new}}}}], fallback: [compatible/o]}}}}
  drawn: {{{{targets: [{{{{model: compatible/o}}}}, {{{{model: claude/m, weight: 99}}}}]}}}}
"""
ASKED: dict[str, Any] = {"model": "both", "messages": [{"role": "user", "content": "Hi"}], "seed": 7, "max_tokens": 100}


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture
def gateway(upstream: Upstream, tmp_path: Path) -> Iterator[Running]:
    env = {"HEADGATE_DATA": str(tmp_path / "ledger.db")}
    with configured(ROUTES.format(url=upstream.url), PRICES, env, tmp_path) as running:
        yield running


def dry(gateway: Running, key: str, **changes: object) -> dict[str, Any]:
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0)
    body = {**ASKED, **changes}
    told = client.post("/chat/completions", cast_to=object, body=body, options={"params": {"dry_run": "1"}})
    assert isinstance(told, dict)
    return told


def test_what_is_explained_is_what_is_then_sent(gateway: Running, upstream: Upstream) -> None:
    key = gateway.new_key(key_alias="dry", max_budget="1")
    told = dry(gateway, key)
    assert not upstream.requests and not gateway.entries()
    (shown,) = gateway.admin("GET", "keys")["data"]
    assert (shown["spend_usd"], shown["held_usd"]) == ("0", "0")
    first, second = told["targets"]
    assert (first["target"], second["target"]) == ("claude/m", "compatible/o")
    assert first["dropped"] == [{"feature": "seed", "why": "Anthropic samples without a seed"}]
    assert second["dropped"] == [] and second["request"]["body"]["seed"] == 7

    upstream.answer(recorded(recording("anthropic.messages", "10031a4c75ce")))
    answer = gateway.chat(key, ASKED)
    assert (answer.status_code, answer.headers["x-headgate-dropped"]) == (200, "seed")
    (sent,) = upstream.requests
    explained = first["request"]
    assert (explained["method"], explained["url"]) == (sent.method, upstream.url + sent.path)
    assert explained["body"] == json.loads(sent.body)
    masked = {name for name, value in explained["headers"].items() if value == "•••"}
    assert masked == {"x-api-key", "x-tenant"}
    assert all(sent.headers[name] == value for name, value in explained["headers"].items() if name not in masked)
    assert SECRET not in json.dumps(told) and "hush" not in json.dumps(told)


def test_a_file_is_held_for_as_much_as_its_request(
    gateway: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HEADGATE_URL", raising=False)
    asked = {"model": "compatible/o", "messages": [{"role": "user", "content": "Привет, 🚰 für alle"}], "max_tokens": 9}
    chat = tmp_path / "chat.json"
    chat.write_text(json.dumps(asked))
    files = ["--routes", str(tmp_path / "routes.yaml"), "--pricing", str(tmp_path / "pricing.yaml")]
    assert cli.main(["explain", str(chat), *files]) == 0
    here = json.loads(capsys.readouterr().out)["targets"][0]
    there = dry(gateway, gateway.new_key(), **asked)["targets"][0]
    assert abs(here["limits"]["input_tokens"] - there["limits"]["input_tokens"]) < 20  # white space


def test_a_target_without_a_price_is_told_and_not_asked(gateway: Running, upstream: Upstream) -> None:
    key = gateway.new_key()
    first, second = dry(gateway, key, model="half")["targets"]
    assert (first["target"], first["error"]["code"]) == ("compatible/new", "unpriced_model")
    assert (second["target"], second["request"]["method"]) == ("compatible/o", "POST")
    upstream.answer(recorded(recording("anthropic.messages", "10031a4c75ce")))
    gateway.chat(key, ASKED | {"model": "half"})
    assert [json.loads(sent.body)["model"] for sent in upstream.requests] == ["o"]


def test_the_reasoning_of_earlier_turns_is_shown_where_it_is_put_back(gateway: Running, upstream: Upstream) -> None:
    key = gateway.new_key(team_id=gateway.admin("POST", "teams", {})["id"])
    upstream.answer(*[recorded(recording("anthropic.messages", "10031a4c75ce"))] * 2)
    thinking = {**ASKED, "model": "claude/claude-haiku-5-5", "reasoning_effort": "low", "max_tokens": 4000}
    said = gateway.chat(key, thinking).json()["choices"][0]["message"]
    turns = [*thinking["messages"], {"role": "assistant", "content": said["content"]}, {"role": "user", "content": "?"}]
    body = dry(gateway, key, **{**thinking, "messages": turns})["targets"][0]["request"]["body"]
    assert gateway.chat(key, {**thinking, "messages": turns}).status_code == 200
    assert body == json.loads(upstream.requests[-1].body)
    kinds = [block["type"] for block in body["messages"][1]["content"]]
    assert kinds != ["text"] and kinds[-1] == "text"


def test_the_most_that_it_can_cost_is_exact(gateway: Running) -> None:
    """Input at its dearest rate (written to the cache), output at 15 USD per million tokens."""
    told = dry(gateway, gateway.new_key())
    for target, rates in zip(told["targets"], ((3750, 15000), (1000, 2000)), strict=True):
        limits = target["limits"]
        assert (limits["output_tokens"], limits["choices"]) == (100, 1)
        nanousd = limits["input_tokens"] * rates[0] + 100 * rates[1]
        assert target["most_usd"] == f"{nanousd / 10**9:.9f}".rstrip("0")
    assert told["hold"]["most_usd"] == told["targets"][0]["most_usd"]
    twice = dry(gateway, gateway.new_key(), n=2)["targets"]
    assert [target["calls"] for target in twice] == [2, 1]
    assert [target["limits"]["choices"] for target in twice] == [2, 2]


def test_refusals_are_those_of_the_request_itself(gateway: Running, upstream: Upstream) -> None:
    key = gateway.new_key()
    refused = dry(gateway, key, logit_bias={"1": 5})["targets"]
    assert refused[0]["error"]["param"] == "logit_bias" and refused[1]["request"]["body"]["logit_bias"] == {"1": 5}
    for wrong, status, code in (
        ({"model": "nobody"}, 404, "model_not_found"),
        ({"model": "claude/m", "logit_bias": {"1": 5}}, 400, "unsupported_parameter"),
        ({"messages": []}, 400, "empty_array"),
    ):
        with pytest.raises(openai.APIStatusError) as raised:
            dry(gateway, key, **wrong)
        assert (raised.value.status_code, raised.value.code) == (status, code)
    with pytest.raises(openai.AuthenticationError):
        dry(gateway, "sk-nobody")
    assert not upstream.requests


def test_a_keys_own_word_decides_what_is_refused(gateway: Running) -> None:
    lenient = gateway.new_key(unsupported="report")
    (target,) = dry(gateway, lenient, model="claude/m", logit_bias={"1": 5})["targets"]
    assert [drop["feature"] for drop in target["dropped"]] == ["seed", "logit_bias"]


def test_a_weighted_routes_targets_stand_as_they_are_written(gateway: Running) -> None:
    key = gateway.new_key()
    for _ in range(5):
        told = dry(gateway, key, model="drawn")
        assert [target["target"] for target in told["targets"]] == ["compatible/o", "claude/m"]


@pytest.mark.parametrize("query", [{"dry_run": "0"}, {"dry_run": "False"}, {"api-version": "2024-10-21"}])
def test_a_dry_run_that_is_none_is_answered(gateway: Running, upstream: Upstream, query: dict[str, str]) -> None:
    upstream.answer(recorded(recording("anthropic.messages", "10031a4c75ce")))
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.new_key(), max_retries=0)
    body = {"model": "both", "messages": [{"role": "user", "content": "Hi"}]}
    answer = client.post("/chat/completions", cast_to=object, body=body, options={"params": query})
    assert isinstance(answer, dict) and answer["choices"] and len(upstream.requests) == 1


@pytest.mark.parametrize("word", ["yes", "on", "", "2"])
def test_a_word_that_may_mean_a_dry_run_sends_nothing(gateway: Running, upstream: Upstream, word: str) -> None:
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.new_key(), max_retries=0)
    with pytest.raises(openai.BadRequestError) as raised:
        client.post("/chat/completions", cast_to=object, body=ASKED, options={"params": {"dry_run": word}})
    assert (raised.value.param, raised.value.code) == ("dry_run", "invalid_value")
    assert not upstream.requests and not gateway.entries()


def test_the_command_explains_by_the_files_alone_or_by_a_running_gateway(
    gateway: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = tmp_path / "chat.json"
    asked.write_text(json.dumps(ASKED))
    files = ["--routes", str(tmp_path / "routes.yaml"), "--pricing", str(tmp_path / "pricing.yaml")]
    assert cli.main(["explain", str(asked), *files]) == 0
    here = json.loads(capsys.readouterr().out)
    monkeypatch.setenv("HEADGATE_KEY", f"{gateway.new_key()}\n")  # as a mounted file has it
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps({**ASKED, "model": "nobody"})))
    assert cli.main(["explain", "-", "--model", "both", "--url", gateway.url]) == 0
    there = json.loads(capsys.readouterr().out)
    assert [each["request"] for each in here["targets"]] == [each["request"] for each in there["targets"]]
    monkeypatch.setenv("HEADGATE_URL", gateway.url)
    assert cli.main(["explain", str(asked)]) == 0
    assert json.loads(capsys.readouterr().out) == there
    for file in (files[:2], files[2:]):
        with pytest.raises(SystemExit) as ended:
            cli.main(["explain", str(asked), *file, "--url", gateway.url])
        assert ended.value.code == 2
        assert "--url: not allowed with --routes, --pricing or --models" in capsys.readouterr().err


@pytest.mark.parametrize("file", ["routes", "pricing"])
def test_files_that_are_named_are_what_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    (tmp_path / "chat.json").write_text(json.dumps(ASKED))
    monkeypatch.setenv("HEADGATE_URL", "http://127.0.0.1:1")
    assert cli.main(["explain", str(tmp_path / "chat.json"), f"--{file}", str(tmp_path / "none.yaml")]) == 1
    assert "none.yaml" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "told"),
    [("{", "cannot be read as JSON"), ("[]", "must be a JSON object"), ('{"model": "no"}', "`messages`: is required")],
)
def test_the_command_says_what_is_wrong_with_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, told: str
) -> None:
    (tmp_path / "chat.json").write_text(text)
    assert cli.main(["explain", str(tmp_path / "chat.json")]) == 1
    assert told in capsys.readouterr().err
