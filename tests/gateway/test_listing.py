"""GET /v1/models: what a key may use, what it can do and what it costs; still OpenAI's Model."""

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.running import Running, configured

ROUTES = """
providers:
  claude: {dialect: anthropic, base_url: "http://127.0.0.1:1", api_key: k}
  google: {dialect: gemini, base_url: "http://127.0.0.1:1", api_key: k}
routes:
  one: claude/claude-haiku-5-5
  both: {targets: [{model: claude/claude-haiku-5-5}], fallback: [google/gemini-2.5-pro]}
  unpriced: claude/nobody
"""
PRICES = """
models:
  claude-haiku-5-5: {input: 1, cache_read: 0.1, cache_write: 1.25, output: 5.50, web_search: 0.01}
  gemini-2.5-pro: {input: 0.3, cache_read: 0.03, audio_input: 1, output: 2.5, reasoning: 9, request: 0.002}
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("listing")
    with configured(ROUTES, PRICES, {"HEADGATE_DATA": str(folder / "l.db")}, folder) as running:
        yield running


def client(gateway: Running, **fields: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.new_key(**fields), max_retries=0)


def shown(gateway: Running, name: str) -> dict[str, Any]:
    model = client(gateway).models.retrieve(name)
    assert (model.id, model.object) == (name, "model")
    return model.model_dump()


def test_one_models_limits_capabilities_and_price(gateway: Running) -> None:
    found = shown(gateway, "one")
    assert found["owned_by"] == "claude"
    assert found["context_window"] > found["max_output_tokens"] > 0
    told = found["capabilities"]
    assert (told["vision"], told["audio"], told["thinking"]) == (True, False, "adaptive")
    assert {"low", "high"} <= set(told["reasoning_efforts"])
    assert found["pricing"] == {
        "input": "1",
        "cache_read": "0.1",
        "cache_write": "1.25",
        "output": "5.5",
        "web_search": "0.01",
    }


def test_a_route_shows_what_holds_whoever_answers(gateway: Running) -> None:
    one, other, both = (shown(gateway, name) for name in ("one", "google/gemini-2.5-pro", "both"))
    for limit in ("context_window", "max_output_tokens"):
        assert both[limit] == min(one[limit], other[limit])
    assert other["capabilities"]["audio"] and not both["capabilities"]["audio"]
    assert both["capabilities"]["thinking"] == "mixed"
    assert (one["capabilities"]["thinking_always"], both["capabilities"]["thinking_always"]) == (False, True)
    assert {name: both["pricing"][name] for name in ("input", "output", "reasoning", "request")} == {
        "input": "1",
        "output": "5.5",
        "reasoning": "9",
        "request": "0.002",
    }


def test_what_has_no_price_or_is_not_known_says_so(gateway: Running) -> None:
    found = shown(gateway, "unpriced")
    assert (found["pricing"], found["context_window"], found["max_output_tokens"]) == (None, None, None)
    for name in ("claude/nobody", "nobody/claude-haiku-5-5", "nothing"):
        with pytest.raises(openai.NotFoundError):
            client(gateway).models.retrieve(name)


def test_a_key_sees_the_models_it_may_use(gateway: Running) -> None:
    seen = {model.id for model in client(gateway, models=["o*", "demo"]).models.list()}
    assert seen == {"one", "demo"}
    assert client(gateway, models=["claude/*"]).models.retrieve("claude/claude-haiku-5-5").owned_by == "claude"
    with pytest.raises(openai.NotFoundError):
        client(gateway, models=["o*"]).models.retrieve("both")
    every = [model.model_dump() for model in client(gateway).models.list()]
    assert {"one", "both", "demo"} <= {model["id"] for model in every}
    assert all({"capabilities", "pricing", "context_window"} <= set(model) for model in every)


def test_without_a_key_there_is_nothing_to_see(gateway: Running) -> None:
    answer = httpx.get(f"{gateway.url}/v1/models")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "missing_api_key")


def test_health_needs_no_key(gateway: Running) -> None:
    assert httpx.get(f"{gateway.url}/healthz").json() == {"status": "ok"}
    assert httpx.get(f"{gateway.url}/readyz").json() == {"status": "ready"}
