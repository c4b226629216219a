"""From the model's name to its targets."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.config import Config, load
from gateway.prices.pricing import cost
from gateway.routing import known_models, targets_for
from translators.errors import LLMError
from translators.usage import Usage

ROUTES = """
providers:
  a: {dialect: openai, base_url: "http://127.0.0.1:1/v1", api_key: "${A_KEY:-key-a}", unsupported: report,
      drop: [seed], rename: {max_completion_tokens: max_tokens}, stream_usage: false, headers: {x-h: v}}
  b: {dialect: anthropic, base_url: "http://127.0.0.1:2", api_key: key-b, timeouts: {idle_s: 7}}
  off: {dialect: openai, api_key: "${OFF_KEY}"}
routes:
  exact: a/model-1
  gpt-*: a/*
  gpt-5*: b/*
  my-*-x: a/their-*
  mixed:
    targets: [{model: a/one, weight: 3}, {model: b/two, weight: 1}, {model: off/three, weight: 96}]
    fallback: [b/four, off/five, a/one]
    unsupported: refuse
    timeouts: {idle_s: 3}
  ordered: {targets: [{model: b/two}, {model: a/one, weight: 99}], strategy: ordered}
  dark: {targets: [{model: off/m}], fallback: [off/n]}
"""
PRICES = """
unpriced: refuse
models:
  gpt-4: {input: 1, output: 1}
  gpt-5: {input: 1, output: 1}
  other: {input: 1, output: 1}
  a/priced: {input: 1, output: 1}
  off/priced: {input: 1, output: 1}
"""


def config_of(folder: Path, routes: str = ROUTES, env: Mapping[str, str] | None = None) -> Config:
    paths = [folder / "routes.yaml", folder / "pricing.yaml", folder / "models.yaml"]
    for path, text in zip(paths, (routes, PRICES, "models: {one: {max_output_tokens: 77}}"), strict=True):
        path.write_text(text, encoding="utf-8")
    return load(paths[0], paths[1], paths[2], env or {})


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return config_of(tmp_path)


def names(config: Config, model: str, choose: float = 0.0) -> list[str]:
    return [target.name for target in targets_for(config, model, choose)]


@pytest.mark.parametrize(
    ("model", "target"),
    [
        ("exact", "a/model-1"),
        ("gpt-4", "a/gpt-4"),
        ("gpt-5.4-mini", "b/gpt-5.4-mini"),  # the more specific pattern
        ("my-own-x", "a/their-own"),
        ("a/anything/at:all", "a/anything/at:all"),
        ("demo", "demo/demo"),
    ],
)
def test_a_name_leads_to_its_target(config: Config, model: str, target: str) -> None:
    assert names(config, model) == [target]


def test_a_plain_provider_and_model_is_understood_beside_a_pattern_for_everything(tmp_path: Path) -> None:
    routes = ROUTES.replace("gpt-*: a/*", "'*': a/catch-*\n  a/special-*: b/*")
    config = config_of(tmp_path, routes)
    assert names(config, "b/m") == ["b/m"]
    assert names(config, "whatever") == ["a/catch-whatever"]
    assert names(config, "demo") == ["demo/demo"]
    assert names(config, "a/special-1") == ["b/a/special-1"]


@pytest.mark.parametrize("model", ["nobody", "nobody/knows", "a/", "/m", "EXACT", "gpt"])
def test_a_name_that_leads_nowhere_is_404(config: Config, model: str) -> None:
    with pytest.raises(LLMError) as raised:
        targets_for(config, model, 0.0)
    assert (raised.value.status, raised.value.code, raised.value.param) == (404, "model_not_found", "model")


@pytest.mark.parametrize("model", ["dark", "off/m"])
def test_a_model_whose_provider_has_no_key_is_404_and_says_which_is_missing(config: Config, model: str) -> None:
    with pytest.raises(LLMError, match="OFF_KEY not set") as raised:
        targets_for(config, model, 0.0)
    assert (raised.value.status, raised.value.code) == (404, "model_not_found")


@pytest.mark.parametrize(("choose", "first"), [(0.0, "a/one"), (0.749, "a/one"), (0.75, "b/two"), (0.999999, "b/two")])
def test_the_first_is_drawn_by_weight_among_those_that_are_on(config: Config, choose: float, first: str) -> None:
    found = names(config, "mixed", choose)
    assert found[0] == first
    assert set(found[:2]) == {"a/one", "b/two"}
    assert found[2:] == ["b/four"]  # nobody is asked twice, nobody who is off


@pytest.mark.parametrize("choose", [0.0, 0.5, 0.99])
def test_an_ordered_route_keeps_its_order(config: Config, choose: float) -> None:
    assert names(config, "ordered", choose) == ["b/two", "a/one"]


def test_a_target_carries_what_its_provider_and_route_say(config: Config) -> None:
    [plain] = targets_for(config, "a/one", 0.0)
    assert plain.endpoint.unsupported == "report"
    assert plain.endpoint.drop == {"seed"}
    assert plain.endpoint.rename == {"max_completion_tokens": "max_tokens"}
    assert plain.endpoint.stream_usage is False
    assert plain.endpoint.headers == {"x-h": "v"}
    assert plain.endpoint.facts.max_output_tokens == 77
    assert (plain.dialect, plain.route, plain.timeouts.idle_s) == ("openai", "", 120)
    routed = targets_for(config, "mixed", 0.0)[0]
    assert routed.name == plain.name
    assert (routed.endpoint.unsupported, routed.route, routed.timeouts.idle_s) == ("refuse", "mixed", 3)
    assert targets_for(config, "b/two", 0.0)[0].timeouts.idle_s == 7


def test_a_providers_own_limit_stands_in_where_a_models_is_not_known(tmp_path: Path) -> None:
    config = config_of(tmp_path, ROUTES.replace("drop: [seed]", "drop: [seed], max_output_tokens: 8192"))
    known, unknown = (targets_for(config, name, 0.0)[0].endpoint.facts for name in ("a/one", "a/two"))
    assert (known.max_output_tokens, unknown.max_output_tokens) == (77, 8192)
    assert targets_for(config, "b/two", 0.0)[0].endpoint.facts.max_output_tokens is None


def test_the_keys_word_on_what_is_unsupported_goes_before_the_routes_and_the_providers(config: Config) -> None:
    said = {
        model: [targets_for(config, model, 0.0, key)[0].endpoint.unsupported for key in (None, "refuse", "report")]
        for model in ("a/one", "mixed")
    }
    assert said == {"a/one": ["report", "refuse", "report"], "mixed": ["refuse", "refuse", "report"]}


def test_two_configurations_do_not_see_each_others_targets(tmp_path: Path) -> None:
    before = config_of(tmp_path)
    assert targets_for(before, "exact", 0.0)[0].endpoint.api_key == "key-a"
    after = config_of(tmp_path, env={"A_KEY": "new"})
    assert targets_for(after, "exact", 0.0)[0].endpoint.api_key == "new"


def test_the_list_holds_what_can_be_asked(config: Config) -> None:
    known = dict(known_models(config))
    assert known == {
        "a/priced": "a",
        "demo": "demo",
        "exact": "a",
        "gpt-4": "a",
        "gpt-5": "b",
        "mixed": "a",
        "ordered": "b",
    }
    assert list(known) == sorted(known)


HOSTS = """
providers:
  vertex: {dialect: vertex, project: acme, location: us-east5}
  world: {dialect: vertex, project: "${PROJECT}"}
  azure: {dialect: openai, base_url: "https://r.openai.azure.com", api_key: k, api_version: 2024-10-21}
"""


@pytest.fixture
def hosts(tmp_path: Path) -> Config:
    (tmp_path / "routes.yaml").write_text(HOSTS, encoding="utf-8")
    return load(tmp_path / "routes.yaml", None, None, {"PROJECT": "there"})


@pytest.mark.parametrize(
    ("model", "dialect"),
    [
        ("gemini-3.8-flash", "vertex"),
        ("google/gemini-3.8-flash", "vertex"),
        ("claude-sonnet-4-5@20250929", "vertex_anthropic"),
        ("anthropic/claude-sonnet-4-5@20250929", "vertex_anthropic"),
        ("meta/llama-4", "vertex_openai"),
        ("unheard-of", "vertex"),
    ],
)
def test_a_model_on_vertex_is_asked_in_its_makers_shape(hosts: Config, model: str, dialect: str) -> None:
    (target,) = targets_for(hosts, f"vertex/{model}", 0.0)
    assert (target.dialect, target.model, target.endpoint.model) == (dialect, model, model)
    assert (target.endpoint.project, target.endpoint.location) == ("acme", "us-east5")


@pytest.mark.parametrize("maker", ["", "anthropic/"])
def test_what_vertex_asks_for_and_takes_is_its_own(hosts: Config, maker: str) -> None:
    regional, everywhere = (
        targets_for(hosts, f"{name}/{maker}claude-haiku-5-5", 0.0)[0] for name in ("vertex", "world")
    )
    assert not regional.endpoint.facts.structured_output  # Anthropic's own has it
    assert everywhere.endpoint.location == "global"
    assert regional.price is not None and everywhere.price is not None
    usage = Usage(input_tokens=1000, output_tokens=1000)
    # 1000·0.1 + 1000·0.5 = 600 µ$; a regional endpoint costs a tenth more
    assert [cost(usage, price, 0) for price in (everywhere.price, regional.price)] == [600_000, 660_000]


def test_a_providers_own_price_goes_before_its_hosts(tmp_path: Path) -> None:
    (tmp_path / "routes.yaml").write_text(HOSTS + "routes: {gemini-x: world/gemini-x}", encoding="utf-8")
    prices = {"world/mine": 1, "vertex/mine": 2, "vertex/gemini-x": 3, "gemini-x": 4, "gemini-y": 5}
    rows = "".join(f"  {name}: {{input: {usd}}}\n" for name, usd in prices.items())
    (tmp_path / "pricing.yaml").write_text(f"models:\n{rows}", encoding="utf-8")
    config = load(tmp_path / "routes.yaml", tmp_path / "pricing.yaml", None, {"PROJECT": "p"})
    found = [targets_for(config, name, 0.0)[0].price for name in ("world/mine", "gemini-x", "world/gemini-y")]
    assert [price and price.rates.input for price in found] == [1, 3, 5]


def test_a_project_that_is_not_in_the_environment_turns_its_provider_off(tmp_path: Path) -> None:
    (tmp_path / "routes.yaml").write_text(HOSTS, encoding="utf-8")
    config = load(tmp_path / "routes.yaml", None, None, {})
    assert config.off == {"world": "PROJECT"}


def test_azures_version_reaches_the_endpoint(hosts: Config) -> None:
    (target,) = targets_for(hosts, "azure/my-deployment", 0.0)
    assert (target.dialect, target.endpoint.api_version) == ("openai", "2024-10-21")
