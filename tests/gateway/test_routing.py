"""From the model's name to its targets."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.config import Config, load
from gateway.routing import allowed, known_models, targets_for
from translators.errors import LLMError

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


@pytest.mark.parametrize(
    ("patterns", "model", "may"),
    [
        ((), "anything", True),
        (("gpt-5",), "gpt-5", True),
        (("gpt-5",), "gpt-5.4", False),
        (("gpt-*", "claude-*"), "claude-x", True),
        (("gpt-*",), "GPT-5", False),
        (("*",), "", True),
        (("*/*",), "a/b", True),
        (("a*b*c",), "a-b-bc", True),
        (("a*b*c",), "a-c-b", False),
        (("ab*ba",), "aba", False),
        (("[g]pt?",), "gpt5", False),
    ],
)
def test_a_key_may_use_what_its_patterns_cover(patterns: tuple[str, ...], model: str, may: bool) -> None:
    assert allowed(patterns, model) is may
