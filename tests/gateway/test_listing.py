"""GET /v1/models shows what the key may use; health tells a load balancer what it needs to know."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import openai
import pytest

from tests.running import Running, in_thread

ROUTES = """
providers:
  openai: {dialect: openai, api_key: k}
routes:
  fast: openai/gpt-5.4-mini
  team/own: openai/gpt-5.4-nano
"""


@pytest.fixture
def gateway(store_env: Mapping[str, str], tmp_path: Path) -> Iterator[Running]:
    (tmp_path / "routes.yaml").write_text(ROUTES)
    with in_thread(tmp_path / "routes.yaml", store_env) as running:
        yield running


def test_a_key_sees_the_models_it_may_use(gateway: Running) -> None:
    team = gateway.admin("POST", "teams", {"models": ["fast", "team/*"]})["id"]
    for fields, seen in (({}, ["demo", "fast", "team/own"]), ({"models": ["f*"]}, ["fast"])):
        with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.new_key(**fields)) as client:
            assert [model.id for model in client.models.list()] == seen
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.new_key(team_id=team)) as client:
        assert [model.id for model in client.models.list()] == ["fast", "team/own"]
        assert client.models.retrieve("team/own").owned_by == "openai"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("demo")


def test_without_a_key_there_is_nothing_to_see(gateway: Running) -> None:
    answer = httpx.get(f"{gateway.url}/v1/models")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "missing_api_key")


def test_health_needs_no_key(gateway: Running) -> None:
    assert httpx.get(f"{gateway.url}/healthz").json() == {"status": "ok"}
    assert httpx.get(f"{gateway.url}/readyz").json() == {"status": "ready"}
