"""The three files: what is read, what is refused, and how it is told."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.config import Config, ConfigErrors, built_in, load
from gateway.routing import targets_for
from translators.errors import LLMError

NO_KEYS: Mapping[str, str] = {}


def written(folder: Path, text: str, name: str = "routes.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def faults(
    folder: Path, routes: str | None = None, pricing: str | None = None, env: Mapping[str, str] = NO_KEYS
) -> list[tuple[int, str]]:
    """(line, message) of every fault of these texts; the built-in file for each that is None."""
    given = [
        written(folder, text, name) if text is not None else None
        for text, name in ((routes, "routes.yaml"), (pricing, "pricing.yaml"))
    ]
    with pytest.raises(ConfigErrors) as raised:
        load(given[0], given[1], None, env)
    assert all(fault.file in map(str, given) for fault in raised.value.faults)
    return [(fault.line, fault.message) for fault in raised.value.faults]


def loaded(folder: Path, routes: str, env: Mapping[str, str] = NO_KEYS) -> Config:
    return load(written(folder, routes), None, None, env)


# --- with no file at all


def test_without_keys_only_the_demo_is_on() -> None:
    config = load(None, None, None, NO_KEYS)
    assert set(config.settings.providers) - set(config.off) == {"demo"}
    assert config.off["gemini"] == "GEMINI_API_KEY"


@pytest.mark.parametrize(
    ("env", "model", "target"),
    [
        ({"OPENAI_API_KEY": "k"}, "gpt-5.4-mini", "openai/gpt-5.4-mini"),
        ({"OPENAI_API_KEY": "k"}, "o3", "openai/o3"),
        ({"ANTHROPIC_API_KEY": "k"}, "claude-haiku-5-5", "anthropic/claude-haiku-5-5"),
        ({"GEMINI_API_KEY": "k"}, "gemini-3.8-flash", "gemini/gemini-3.8-flash"),
        ({"GOOGLE_API_KEY": "k"}, "gemini-3.8-flash", "gemini/gemini-3.8-flash"),
        ({"GROQ_API_KEY": "k"}, "groq/openai/gpt-oss-120b", "groq/openai/gpt-oss-120b"),
        ({"OLLAMA_BASE_URL": "http://127.0.0.1:11434/v1"}, "ollama/qwen3", "ollama/qwen3"),
    ],
)
def test_a_key_in_the_environment_is_all_it_takes(env: Mapping[str, str], model: str, target: str) -> None:
    [found] = targets_for(load(None, None, None, env), model, 0.0)
    assert found.name == target
    assert found.price is not None


def test_a_provider_may_be_at_another_address() -> None:
    env = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1/"}
    [found] = targets_for(load(None, None, None, env), "gpt-5.4", 0.0)
    assert found.endpoint.base_url == "http://127.0.0.1:9/v1"
    assert found.endpoint.api_key == "k"


def test_azure_is_on_with_both_its_variables_and_its_slashes_fall_together() -> None:
    env = {"AZURE_OPENAI_API_KEY": "k", "AZURE_OPENAI_ENDPOINT": "https://acme.openai.azure.com/"}
    [found] = targets_for(load(None, None, None, env), "azure/gpt-5.4", 0.0)
    assert found.endpoint.base_url == "https://acme.openai.azure.com/openai/v1"
    assert "azure" in load(None, None, None, {"AZURE_OPENAI_API_KEY": "k"}).off


def test_the_built_in_files_are_found() -> None:
    assert all(built_in(name).is_file() for name in ("routes.yaml", "pricing.yaml", "models.yaml"))


# --- the environment


def test_references_are_filled_in_after_parsing(tmp_path: Path) -> None:
    text = """
providers:
  here: {dialect: openai, base_url: "${HERE:-http://${HOST:-localhost}:1/v1}", headers: {x-team: "a-${TEAM}-b"}}
"""
    nasty = "}, evil: {dialect: openai"
    config = loaded(tmp_path, text, {"TEAM": nasty})
    here = config.settings.providers["here"]
    assert here.base_url == "http://localhost:1/v1"
    assert here.headers == {"x-team": f"a-{nasty}-b"}
    assert "evil" not in config.settings.providers


def test_the_line_break_at_the_end_of_a_mounted_secret_is_no_part_of_it(tmp_path: Path) -> None:
    text = """
providers:
  here: {dialect: openai, api_key: "${KEY}", base_url: "${HERE}", headers: {a: "Bearer ${OTHER}", b: "${BLANK:-b}"}}
"""
    env = {"KEY": "k\n", "HERE": "http://127.0.0.1:1/v1\r\n", "OTHER": " o\t", "BLANK": "\n"}
    here = loaded(tmp_path, text, env).settings.providers["here"]
    assert here.api_key is not None and here.api_key.get_secret_value() == "k"
    assert (here.base_url, here.headers) == ("http://127.0.0.1:1/v1", {"a": "Bearer o", "b": "b"})


@pytest.mark.parametrize("secret", ["sk-1\nsk-2", "sk-1\x00", "sk-1\x7f2", "sk-1\u20112"])
def test_what_no_header_can_carry_stops_the_start(tmp_path: Path, secret: str) -> None:
    text = "providers:\n  a:\n    dialect: openai\n    api_key: ${KEY}\n    headers:\n      x-b: b-${KEY}-b\n"
    found = faults(tmp_path, text, env={"KEY": f"{secret}!"})
    assert [line for line, _ in found] == [4, 6]
    assert [message.partition(": ")[0] for _, message in found] == ["providers.a.api_key", "providers.a.headers.x-b"]
    assert all("no HTTP header can carry" in message and "sk-1" not in message for _, message in found)


@pytest.mark.parametrize("env", [{}, {"KEY": ""}, {"KEY": " \n"}])
def test_an_unset_key_turns_its_provider_off_whatever_else_it_lacks(tmp_path: Path, env: Mapping[str, str]) -> None:
    text = 'providers: {here: {dialect: openai, api_key: "${KEY}", headers: {a: "${OTHER}"}}}\nroutes: {m: here/m}\n'
    config = loaded(tmp_path, text, env)
    assert config.off == {"here": "KEY"}
    with pytest.raises(LLMError, match="KEY") as raised:
        targets_for(config, "m", 0.0)
    assert raised.value.status == 404


def test_a_host_without_a_key_is_on(tmp_path: Path) -> None:
    config = loaded(tmp_path, 'providers: {here: {dialect: openai, base_url: "http://127.0.0.1:1/v1"}}')
    assert targets_for(config, "here/m", 0.0)[0].endpoint.api_key is None


def test_any_other_unset_name_stops_the_start(tmp_path: Path) -> None:
    text = "providers:\n  here:\n    dialect: openai\n    headers:\n      a: ${NOWHERE}\n"
    [(line, message)] = faults(tmp_path, text)
    assert line == 5
    assert "providers.here.headers.a" in message and "NOWHERE" in message


@pytest.mark.parametrize("value", ["${}", "${A", "${A:-${B}", "${1A}", "${A-b}"])
def test_half_a_reference_is_a_fault(tmp_path: Path, value: str) -> None:
    [(line, message)] = faults(tmp_path, f'providers:\n  here: {{dialect: openai, api_key: "{value}"}}\n')
    assert line == 2
    assert "${NAME:-default}" in message


# --- faults


def test_a_fault_in_one_version_of_a_price_is_found_there(tmp_path: Path) -> None:
    text = "models:\n  m:\n    - {input: 1}\n    - {since: 2026-12-01,\n       inputt: 2}\n"
    [(line, message)] = faults(tmp_path, pricing=text)
    assert line == 5
    assert "models.m.1.inputt" in message and "did you mean 'input'" in message
    [(line, message)] = faults(tmp_path, pricing="models:\n  m:\n    - {input: 1}\n    - {input: 2}\n")
    assert line == 2 and "a `since` of its own" in message


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("providers: [a\n", 2, "not YAML"),
        ("max_body_bytes: 1\nmax_body_bytes: 2\n", 2, "twice"),
        ("keepalive: 3\n", 1, "did you mean 'keepalive_s'"),
        ("keepalive_s: soon\n", 1, "'soon'"),
        ("keepalive_s: -1\n", 1, "greater than 0"),
        ("keepalive_s: .nan\n", 1, "keepalive_s"),
        ("fetch_allow:\n- 10.0.0.0/8\n- 10.0.0.0/99\n", 3, "'10.0.0.0/99'"),
        ("providers:\n  a:\n    dialect: openai\n    api_kay: x\n", 4, "did you mean 'api_key'"),
        ("providers:\n  a: {dialect: opnai}\n", 2, "did you mean 'openai'"),
        ("providers:\n  a: {base_url: 'http://h'}\n", 2, "providers.a.dialect: is required"),
        ("providers:\n  a: {dialect: openai, base_url: ftp://h}\n", 2, "https"),
        ("providers:\n  a: {dialect: openai, timeouts: {idle: 3}}\n", 2, "did you mean 'idle_s'"),
        ("providers:\n  a: openai\n", 2, "providers.a"),
        ("providers:\n  demo: {dialect: openai}\n", 2, "built in"),
        ("routes:\n  fast: opnai/gpt\n", 2, "no provider 'opnai'"),
        ("routes:\n  fast: gpt-5.4\n", 2, "provider/model"),
        ("routes:\n  fast: demo/*\n", 2, "`*`"),
        ("routes:\n  a*b*: demo/demo\n", 2, "one `*`"),
        ("routes:\n  demo: demo/demo\n", 2, "built in"),
        ("routes:\n  fast:\n    targets:\n    - {model: demo/demo, weight: 0}\n", 4, "greater than 0"),
        ("routes:\n  fast:\n    targets:\n    - {model: demo/demo, weight: -1}\n", 4, "greater than 0"),
        ("routes:\n  fast:\n    targets:\n    - {model: demo/demo, wait: 1}\n", 4, "did you mean 'weight'"),
        ("routes:\n  fast:\n    targets: []\n", 3, "at least one target"),
        ("routes:\n  fast:\n    targets: [{model: demo/demo}]\n    fallback: [gone/x]\n", 4, "no provider 'gone'"),
        ("routes:\n  fast:\n    targets: [{model: demo/demo}]\n    strategy: random\n", 4, "'weighted'"),
        ("- a\n", 1, "must be a mapping"),
        ("a: &a [*a]\n", 1, "no such setting"),
    ],
)
def test_a_fault_in_the_routes_is_told_with_its_line(tmp_path: Path, text: str, line: int, told: str) -> None:
    found = faults(tmp_path, text)
    assert any(at == line and told in message for at, message in found), found


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("unpriced: maybe\n", 1, "'refuse' or 'allow'"),
        ("models:\n  m: {input: 1, outptu: 2}\n", 2, "did you mean 'output'"),
        ("models:\n  m:\n    input: cheap\n", 3, "'cheap'"),
        ("models:\n  m: {input: -1}\n", 2, "greater than or equal to 0"),
        ("models:\n  m: {input: 0.0000000001}\n", 2, "9 decimal places"),
        ("models:\n  m: {input: 1}\n  m: {input: 2}\n", 3, "twice"),
        (
            "models:\n  m:\n    input: 1\n    when:\n    - {servicetier: flex}\n",
            5,
            "did you mean 'service_tier'",
        ),
        ("models:\n  m: {input: 1, when: [{multiply: 0}]}\n", 2, "greater than 0"),
    ],
)
def test_a_fault_in_the_prices_is_told_with_its_line(tmp_path: Path, text: str, line: int, told: str) -> None:
    found = faults(tmp_path, pricing=text)
    assert any(at == line and told in message for at, message in found), found


def test_every_fault_of_every_file_is_told_at_once(tmp_path: Path) -> None:
    routes = "wait: 1\nproviders:\n  a: {dialect: opnai}\n"
    routes += "routes:\n  m: b/m\n  n: {targets: [{model: a/n, weight: 0}]}\n"
    found = faults(tmp_path, routes, "models:\n  m: {input: x}\n  n: {output: y}\n")
    assert sorted(line for line, _ in found) == [1, 2, 3, 3, 5, 6]


def test_a_fault_prints_as_editors_read_it(tmp_path: Path) -> None:
    path = written(tmp_path, "wait: 1\n")
    with pytest.raises(ConfigErrors) as raised:
        load(path, None, None, NO_KEYS)
    assert str(raised.value.faults[0]).startswith(f"{path}:1: wait: ")
    assert str(raised.value) == str(raised.value.faults[0])


def test_a_file_that_is_not_there_or_no_text_is_a_fault(tmp_path: Path) -> None:
    binary = tmp_path / "routes.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none.yaml", binary):
        with pytest.raises(ConfigErrors, match="cannot be read"):
            load(path, None, None, NO_KEYS)


def test_a_secret_is_in_no_message(tmp_path: Path) -> None:
    text = "providers:\n  a: {dialect: openai, api_key: [sk-secret], headers: {x: [sk-secret]}}\nalert_url: sk-secret\n"
    found = faults(tmp_path, text)
    assert len(found) == 3
    assert "sk-secret" not in str(found)


def test_a_secret_is_in_no_representation(tmp_path: Path) -> None:
    config = loaded(tmp_path, "providers: {a: {dialect: openai, api_key: sk-secret}}")
    assert "sk-secret" not in repr(config.settings)


# --- values as written


def test_numbers_and_words_that_look_like_them_are_kept_as_written(tmp_path: Path) -> None:
    text = "providers: {a: {dialect: openai, api_key: 007, headers: {x-v: 1.10, x-w: no}, stream_usage: no}}\n"
    provider = loaded(tmp_path, text).settings.providers["a"]
    assert provider.api_key is not None and provider.api_key.get_secret_value() == "007"
    assert provider.headers == {"x-v": "1.10", "x-w": "no"}
    assert provider.stream_usage is False


def test_an_empty_file_is_every_default(tmp_path: Path) -> None:
    config = loaded(tmp_path, "# nothing\n")
    assert set(config.settings.providers) == {"demo"}
    assert config.settings.max_body_bytes == 64 * 1024 * 1024


def test_the_demo_is_there_whatever_is_configured(tmp_path: Path) -> None:
    config = load(written(tmp_path, ""), written(tmp_path, "", "p.yaml"), written(tmp_path, "", "m.yaml"), NO_KEYS)
    for name in ("demo", "demo/demo"):
        [found] = targets_for(config, name, 0.0)
        assert found.name == "demo/demo" and found.price is not None
        assert found.endpoint.base_url == "demo:"
