"""What may be written in routes.yaml, and that the documentation says so."""

from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from gateway.prices.facts import Listed, ModelList
from gateway.prices.price_list import PriceList, Row, When
from gateway.settings import Provider, Retention, Route, Settings, Timeouts, Weighted
from translators.registry import TRANSLATORS

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "model",
    [Settings, Provider, Timeouts, Retention, Route, Weighted, PriceList, Row, When, Listed],
    ids=lambda model: model.__name__,
)
def test_every_setting_is_in_the_documentation(model: type[BaseModel]) -> None:
    missing = [name for name in model.model_fields if f"`{name}`" not in PAGE and f"{name}:" not in PAGE]
    missing = [name for name in missing if not (model is Weighted and f"{{model, {name}}}" in PAGE)]
    assert not missing
    assert "models:" in PAGE and set(ModelList.model_fields) == {"models", "publishers"}


@pytest.mark.parametrize("model", [Settings, Provider, Timeouts])
def test_the_documented_defaults_are_the_real_ones(model: type[BaseModel]) -> None:
    for name, field in model.model_fields.items():
        if isinstance(field.default, int) and not isinstance(field.default, bool):
            assert f"| `{name}` | {field.default} |" in PAGE


@pytest.mark.parametrize("dialect", sorted(TRANSLATORS))
def test_every_dialect_can_be_configured_and_is_documented(dialect: str) -> None:
    assert Provider.model_validate({"dialect": dialect, "project": "p", "region": "us-east-1"}).base_url.startswith(
        "https://"
    )
    assert f"`{dialect}`" in PAGE


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://h/v1/", "https://h/v1"),
        ("https://h//openai//v1", "https://h/openai/v1"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("https://h", "https://h"),
    ],
)
def test_an_address_is_kept_without_stray_slashes(given: str, kept: str) -> None:
    assert Provider.model_validate({"dialect": "openai", "base_url": given}).base_url == kept


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("", "https://aiplatform.googleapis.com"),
        ("global", "https://aiplatform.googleapis.com"),
        ("us", "https://aiplatform.us.rep.googleapis.com"),
        ("us-east5", "https://us-east5-aiplatform.googleapis.com"),
    ],
)
def test_vertex_lies_where_its_location_says(location: str, url: str) -> None:
    written = {"dialect": "vertex", "project": "p", **({"location": location} if location else {})}
    made = Provider.model_validate(written)
    assert (made.base_url, made.location) == (url, location or "global")
    assert Provider.model_validate(written | {"base_url": "http://127.0.0.1:1"}).base_url == "http://127.0.0.1:1"


def test_vertex_needs_to_know_whose_it_is(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="needs a `project`, or an `api_key`"):
        Provider.model_validate({"dialect": "vertex"})
    assert Provider.model_validate({"dialect": "vertex", "api_key": "k"}).project == ""
    with pytest.raises(ValidationError, match="location"):
        Provider.model_validate({"dialect": "vertex", "project": "p", "location": "evil.example/"})
    with pytest.raises(ValidationError, match="there is no file"):
        Provider.model_validate({"dialect": "vertex", "project": "p", "credentials": str(tmp_path / "none.json")})


@pytest.mark.parametrize("address", ["localhost:8000/v1", "https://", "ftp://h", "/v1"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValidationError, match="http"):
        Provider.model_validate({"dialect": "openai", "base_url": address})


@pytest.mark.parametrize("port", ["abc", "99999", "-1", "0", "80 "])
def test_what_is_no_port_is_refused(port: str) -> None:
    with pytest.raises(ValidationError, match="port from 1 to 65535"):
        Provider.model_validate({"dialect": "openai", "base_url": f"http://127.0.0.1:{port}/v1"})
    with pytest.raises(ValidationError, match="port from 1 to 65535"):
        Settings.model_validate({"alert_url": f"https://hooks.example:{port}/t0ken"})


@pytest.mark.parametrize("port", ["1", "65535", ""])
def test_every_port_that_there_is_can_be_written(port: str) -> None:
    url = f"http://127.0.0.1:{port}/v1"
    assert Provider.model_validate({"dialect": "openai", "base_url": url}).base_url == url


def test_a_route_in_short_is_a_route_with_one_target() -> None:
    assert Route.model_validate("demo/demo") == Route.model_validate({"targets": [{"model": "demo/demo"}]})


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({"lease_s": 1.9}, "greater than or equal to 2"),
        ({"lease_s": 301}, "less than or equal to 300"),
        ({"checkpoint_s": 0.04}, "greater than or equal to 0.05"),
        ({"checkpoint_s": 11, "lease_s": 300}, "less than or equal to 10"),
        ({"checkpoint_s": 6}, "at most half of `lease_s`"),
        ({"lease_s": 2, "checkpoint_s": 1.1}, "at most half of `lease_s`"),
        ({"offline_key_s": -1}, "greater than or equal to 0"),
        ({"drain_s": 0}, "greater than 0"),
        ({"alert_url": "hooks.example/1"}, "http or https URL"),
        ({"alert_url": "file:///etc/passwd"}, "http or https URL"),
        ({"retention": {"max_age": "7d"}}, "8d or more"),
        ({"retention": {"max_age": "1y"}}, "duration|number and a unit"),
        ({"retention": {"max_entries": 0}}, "greater than 0"),
        ({"providers": {"p": {"dialect": "openai", "on_disconnect": "drop"}}}, "'cancel' or 'drain'"),
    ],
)
def test_what_the_ledger_cannot_do_is_refused(written: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Settings.model_validate(written)


def test_the_ledgers_settings_are_taken_as_written() -> None:
    written = {"lease_s": "2", "checkpoint_s": "1", "offline_key_s": "0", "retention": {"max_age": "13mo"}}
    made = Settings.model_validate({**written, "alert_url": "https://hooks.example/t0ken", "spool": "/srv/spool"})
    assert (made.lease_s, made.checkpoint_s, made.offline_key_s, made.spool) == (2, 1, 0, "/srv/spool")
    assert made.retention.max_age_s == 13 * 31 * 86_400
    assert made.alert_url is not None and made.alert_url.get_secret_value() == "https://hooks.example/t0ken"
    assert "t0ken" not in repr(made)
    assert Settings.model_validate({"alert_url": ""}).alert_url is None


@pytest.mark.parametrize(
    "url", ["https://h/v1?api-version=1", "https://h/v1#x", "https://user:word@h/v1", "https://@h"]
)
def test_what_would_be_lost_of_an_address_is_refused(url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Provider.model_validate({"dialect": "openai", "base_url": url})
    assert "word" not in str(caught.value.errors()[0]["msg"])


@pytest.mark.parametrize("name", ["wait_s", "lease_s", "checkpoint_s", "offline_key_s", "drain_s", "keepalive_s"])
def test_no_time_is_no_number(name: str) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({name: float("nan")})
