"""What people write in routes.yaml: providers, routes, and the limits of the gateway. Units are in the names."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from os.path import isfile
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from gateway.ledger.windows import UNIT_S, parse_duration
from translators.outcomes import Unsupported
from translators.registry import TRANSLATORS

DIALECTS = tuple(TRANSLATORS)
DEMO = "demo"  # the built-in provider, model and route

BASE_URLS = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com",
    "gemini": "https://generativelanguage.googleapis.com",
    "openrouter": "https://openrouter.ai/api/v1",
}

Finite = Annotated[float, Field(allow_inf_nan=False)]
Seconds = Annotated[Finite, Field(gt=0, le=86_400)]
Positive = Annotated[int, Field(gt=0)]
Weight = Annotated[Finite, Field(gt=0)]
Path = tuple[str | int, ...]  # where something stands in a file


def _carried(value: str) -> str:
    if not value.isprintable() or max(value, default="") > "\xff":
        raise ValueError("holds a line break or another character that no HTTP header can carry")
    return value


HeaderValue = Annotated[str, AfterValidator(_carried)]


class _Written(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


class Timeouts(_Written):
    """`timeouts:` of a provider or a route."""

    connect_s: Seconds = 5  # an address that does not answer by then is down
    # A whole answer begins when it is finished; 600 s is what OpenAI's and Anthropic's own SDKs wait (DEFAULT_TIMEOUT).
    first_byte_s: Seconds = 600
    idle_s: Seconds = 120  # longest silence within a stream: models pause to reason
    total_s: Seconds = 3600  # 128,000 tokens at 40 a second take 53 minutes


class Provider(_Written):
    """One entry under `providers:`."""

    dialect: str
    base_url: str = ""  # the host alone, for openai up to /v1; "" is the dialect's own provider
    api_key: SecretStr | None = None  # None: a host that asks for none
    headers: dict[str, HeaderValue] = {}
    drop: frozenset[str] = frozenset()
    rename: dict[str, str] = {}
    stream_usage: bool = True
    unsupported: Unsupported = "refuse"
    timeouts: Timeouts = Timeouts()
    shows_reasoning: bool = False  # all that its models generate is sent as it comes: none of it is billed unseen
    max_output_tokens: Positive | None = None  # the longest answer there, of a model whose own limit is not known
    on_disconnect: Literal["cancel", "drain"] = "cancel"  # drain: this provider bills the whole answer all the same
    service_tier: str = "default"  # what this account's requests get when none is asked for
    region: str = ""  # where this account's requests run: Bedrock's, and for prices that depend on it; "": anywhere
    project: str = ""  # Vertex's; with an api_key it may be left out
    location: Annotated[str, Field(pattern="^[a-z0-9-]*$")] = ""  # Vertex's: a region, us, eu or global
    credentials: str = ""  # Vertex's: a file of Google's; "": the application default credentials
    api_version: str = ""  # Azure's deployments (openai, then base_url is the host alone); Vertex's v1 or v1beta1

    @field_validator("dialect")
    @classmethod
    def _is_spoken_here(cls, dialect: str) -> str:
        if dialect not in DIALECTS:
            raise ValueError(
                f"{dialect!r} is no dialect{did_you_mean(dialect, DIALECTS)}; there are {', '.join(DIALECTS)}"
            )
        return dialect

    @field_validator("api_key")
    @classmethod
    def _can_be_sent(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None:
            _carried(key.get_secret_value())
        return key

    @field_validator("base_url")
    @classmethod
    def _is_a_url(cls, url: str) -> str:
        if not url:
            return url
        parts = _address(url, "must be an http or https URL, such as https://api.openai.com/v1")
        if parts.query or parts.fragment or parts.username is not None:
            raise ValueError(
                "must end with its path, without a user: what else a host wants is `api_version` or among the `headers`"
            )
        path = "/".join(piece for piece in parts.path.split("/") if piece)  # "…/" + "/v1" is meant as one slash
        return f"{parts.scheme}://{parts.netloc}" + (f"/{path}" if path else "")

    @model_validator(mode="before")
    @classmethod
    def _has_a_url(cls, written: Any) -> Any:
        if isinstance(written, dict) and not written.get("base_url"):
            dialect, location = str(written.get("dialect")), str(written.get("location") or "global")
            url = _vertex_url(location) if _is_vertex(dialect) else BASE_URLS.get(dialect, "")
            if dialect == "bedrock":
                url = _bedrock_url(written.get("region"))
            return written | {"base_url": url}
        return written

    @model_validator(mode="before")
    @classmethod
    def _names_a_project(cls, written: Any) -> Any:
        if isinstance(written, dict) and _is_vertex(str(written.get("dialect"))):
            if "project" not in written and not written.get("api_key"):
                raise ValueError("vertex needs a `project`, or an `api_key`")
            return {**written, "location": written.get("location") or "global"}
        return written

    @field_validator("credentials")
    @classmethod
    def _is_a_file(cls, path: str) -> str:
        if path and not isfile(path):  # pathlib's raises where a folder may not be searched
            raise ValueError(f"there is no file {path!r}")
        return path


def _address(url: str, wanted: str) -> SplitResult:
    """The parts of an http or https URL. Raises ValueError, which does not repeat it: it may hold a token."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(wanted)
    try:
        port = parts.port
    except ValueError:  # no number, or past 65535
        port = 0
    if port == 0:
        raise ValueError("must have a port from 1 to 65535, or none")
    return parts


def _bedrock_url(region: Any) -> str:
    """Source: botocore 1.44, data/bedrock-runtime/…/endpoint-rule-set-1.json."""
    if region is None:
        raise ValueError("bedrock needs a `region`, such as us-east-1, or a `base_url`")
    return f"https://bedrock-runtime.{region}.amazonaws.com{'.cn' if str(region).startswith('cn-') else ''}"


def _is_vertex(dialect: str) -> bool:
    return dialect.startswith("vertex")


def _vertex_url(location: str) -> str:
    """Source: google-genai 3.4 (_api_client.py) and anthropic 2.11 (lib/vertex), which agree."""
    if location == "global":
        return "https://aiplatform.googleapis.com"
    if location in ("us", "eu"):
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"


class Weighted(_Written):
    """One of a route's targets."""

    model: str  # provider/model; `*` as gateway.routing carries it
    weight: Weight = 1


class Route(_Written):
    """One entry under `routes:`. The short form `name: provider/model` is a route with one target."""

    targets: tuple[Weighted, ...]
    strategy: Literal["weighted", "ordered"] = "weighted"  # the first is drawn by weight, or all as they stand
    fallback: tuple[str, ...] = ()
    unsupported: Unsupported | None = None  # None: as the provider has it
    timeouts: Timeouts | None = None

    @field_validator("targets")
    @classmethod
    def _leads_somewhere(cls, targets: tuple[Weighted, ...]) -> tuple[Weighted, ...]:
        if not targets:
            raise ValueError("a route needs at least one target")
        return targets

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, written: Any) -> Any:
        return {"targets": [{"model": written}]} if isinstance(written, str) else written


class Retention(_Written):
    """`retention:`, when entries leave the journal; what they came to by day, key, model and the like stays."""

    max_age: str = "400d"  # 8d at least: a settle that is sent again is known for 7
    max_entries: Positive = 5_000_000  # whatever their age, save that none younger than 8 days leaves

    @field_validator("max_age")
    @classmethod
    def _is_long_enough(cls, age: str) -> str:
        if age_s(age) < 8 * 86_400:
            raise ValueError(f"must be 8d or more, not {age!r}")
        return age

    @property
    def max_age_s(self) -> float:
        return age_s(self.max_age)


def age_s(age: str) -> float:
    """`400d` in seconds, a month being 31 days. Raises ValueError for what is no duration."""
    try:
        number, unit = parse_duration(age)
    except ValueError:
        raise ValueError(f"{age!r} is no duration of at most ten years, such as 400d") from None
    return float(number * UNIT_S[unit])


class Settings(_Written):
    """routes.yaml."""

    providers: dict[str, Provider] = {}
    routes: dict[str, Route] = {}
    max_body_bytes: Positive = 64 * 1024 * 1024
    max_connections: Positive = 1000  # open at once to one host, per worker
    keepalive_s: Seconds = 15  # a silent stream gets a comment line this often: proxies drop connections after 60 s
    wait_s: Annotated[Finite, Field(ge=0, le=3600)] = 20  # for budget that others hold, before 429
    lease_s: Annotated[Finite, Field(ge=2, le=300)] = 10  # a hold that nobody renews for so long is settled
    checkpoint_s: Annotated[Finite, Field(ge=0.05, le=10)] = 0.25  # the most of a stream's cost that a crash can lose
    offline_key_s: Annotated[Finite, Field(ge=0, le=86_400)] = 600  # a key is served from memory without the store
    drain_s: Seconds = 30  # an answer that its caller has left is read on for its usage, at most so long
    spool: str = ""  # the folder of bills that the store did not take; "": see gateway.ledger.spool
    alert_url: SecretStr | None = None  # is told when a soft budget is passed; such URLs often hold a token
    usual_output_tokens: Positive = 256  # held at first, on a small cap, for an answer of which nothing is known yet
    retention: Retention = Retention()
    fetch_allow: tuple[IPvAnyNetwork, ...] = ()  # private networks that images may be fetched from
    fetch_max_bytes: Positive = 20 * 1024 * 1024
    fetch_timeout_s: Seconds = 10

    @field_validator("alert_url")
    @classmethod
    def _can_be_posted_to(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None or not url.get_secret_value():
            return None
        _address(url.get_secret_value(), "must be an http or https URL")
        return url

    @field_validator("checkpoint_s")
    @classmethod
    def _comes_before_the_lease_ends(cls, checkpoint_s: float, others: ValidationInfo) -> float:
        if checkpoint_s > others.data.get("lease_s", checkpoint_s * 2) / 2:
            raise ValueError("must be at most half of `lease_s`, or holds end while they are in use")
        return checkpoint_s


def did_you_mean(word: str, known: Iterator[str] | tuple[str, ...] | list[str]) -> str:
    """A suggestion to put behind a message, or nothing."""
    near = get_close_matches(word, list(known), n=1)
    return f", did you mean {near[0]!r}?" if near else ""


def misrouted(written: Any) -> Iterator[tuple[Path, str]]:
    """What is wrong between the routes and the providers of a file, as written: where, and what would be right."""
    providers, routes = (written.get(name) if isinstance(written, dict) else None for name in ("providers", "routes"))
    known = [DEMO, *providers] if isinstance(providers, dict) else [DEMO]
    if isinstance(providers, dict):
        for name in providers:
            if name == DEMO:
                yield ("providers", name), f"{DEMO!r} is built in and cannot be configured"
            elif "/" in name or "*" in name:
                yield ("providers", name), "a provider's name holds neither `/` nor `*`"
    for name, route in routes.items() if isinstance(routes, dict) else ():
        if name == DEMO:
            yield ("routes", name), f"{DEMO!r} is built in and cannot be configured"
        if name.count("*") > 1:
            yield ("routes", name), "a route's name may hold one `*`"
        for path, target in _targets(route):
            if why := _wrong(target, name, known):
                yield ("routes", name, *path), why


def _targets(route: Any) -> Iterator[tuple[Path, str]]:
    if isinstance(route, str):
        yield (), route
    if not isinstance(route, Mapping):
        return
    targets, fallback = route.get("targets"), route.get("fallback")
    for at, target in enumerate(targets if isinstance(targets, list) else ()):
        if isinstance(target, dict) and isinstance(target.get("model"), str):
            yield ("targets", at, "model"), target["model"]
    for at, target in enumerate(fallback if isinstance(fallback, list) else ()):
        if isinstance(target, str):
            yield ("fallback", at), target


def _wrong(target: str, route: str, providers: list[str]) -> str:
    provider, slash, model = target.partition("/")
    if not slash or not model:
        return f"{target!r} must be provider/model"
    if provider not in providers:
        return f"there is no provider {provider!r}{did_you_mean(provider, providers)}; there are {', '.join(providers)}"
    if model.count("*") > route.count("*"):
        return f"{target!r} has a `*` for which the route's name {route!r} has none"
    return ""
