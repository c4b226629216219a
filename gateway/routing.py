"""The model name → ordered targets. Randomness is an argument.

An exact route stands before a pattern, and the pattern with the most of its own characters before the others.
`provider/model` is always understood, whatever the routes say: only a pattern that has a `/` itself goes before it.
"""

from bisect import bisect_right
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

from gateway.config import Config
from gateway.prices.price_list import Row, covers
from gateway.prices.pricing import Price, price
from gateway.settings import DEMO, Route, Weighted
from gateway.upstream import Timeouts
from translators.errors import LLMError
from translators.exchange import Endpoint, ModelFacts
from translators.outcomes import Unsupported
from translators.registry import spoken


@dataclass(frozen=True, eq=False, slots=True)
class Target:
    """A provider and its model, resolved: where a request goes, at what price and how patiently."""

    provider: str
    model: str  # the provider's own name for it
    route: str  # the route that led here; "" for a plain provider/model
    dialect: str
    endpoint: Endpoint
    price: Price | None  # None: not in pricing.yaml
    timeouts: Timeouts
    total_s: float  # the longest that the whole request may take
    shows_reasoning: bool = False  # nothing that it generates is billed unseen
    name: str = field(init=False)  # provider/model

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"{self.provider}/{self.model}")


def targets_for(
    config: Config, model: str, choose: float, unsupported: Unsupported | None = None
) -> tuple[Target, ...]:
    """Who may answer for `model`, in the order to be asked. `choose`, in [0, 1), draws the first of a weighted route.

    `unsupported` is the key's own word, which goes before the route's and the provider's; None: it has none.
    Providers that are off are left out. Raises LLMError("not_found") for a name that leads nowhere, or to nobody who is
    on; the message then names the variables that are missing.
    """
    way = _way(config, model)
    return _resolved(config, way.name, model, way.ordered(choose) + way.fallback, unsupported)


@lru_cache(maxsize=4096)
def _resolved(
    config: Config, name: str, model: str, named: tuple[str, ...], unsupported: Unsupported | None
) -> tuple[Target, ...]:
    """The targets spelled `named` in the route of this name, without those that are off."""
    found: list[Target] = []
    for spelled in dict.fromkeys(named):  # a fallback that is a target as well is asked once
        provider, _, upstream = spelled.partition("/")
        if provider not in config.off:
            found.append(_target(config, name, provider, _carried(name, model, upstream), unsupported))
    if not found:
        lacking = sorted({config.off[spelled.partition("/")[0]] for spelled in named})
        why = f"no provider for it is configured ({', '.join(lacking)} not set)"
        raise LLMError("not_found", f"The model `{model}` cannot be reached: {why}", param="model")
    return tuple(dict.fromkeys(found))  # two spellings may mean the same


def known_models(config: Config) -> list[tuple[str, str]]:
    """The names that a caller may use and that a provider stands behind, each with that provider; for GET /v1/models.

    A pattern counts for every priced model that it covers; a price of one host's model (`groq/…`) for that host.
    """
    known: dict[str, str] = {DEMO: DEMO}
    for name in config.settings.routes:
        if "*" not in name and (owner := _owner(config, name)):
            known[name] = owner
    for name, _ in config.prices:
        if "*" not in name and name not in known and not name.startswith("ft:") and (owner := _owner(config, name)):
            known[name] = owner
    return sorted(known.items())


def never_asked(config: Config) -> list[str]:
    """What an operator should hear of: targets of a route by its exact name that have no price, where that refuses."""
    found: list[str] = []
    for name in config.settings.routes if config.prices.unpriced == "refuse" else ():
        try:
            targets = targets_for(config, name, 0.0) if "*" not in name else ()
        except LLMError:  # all of them are off
            continue
        why = "has no price in pricing.yaml, and is never asked (`unpriced: refuse`)"
        found += [f"the target {target.name} of the route {name} {why}" for target in targets if target.price is None]
    return found


def _owner(config: Config, name: str) -> str | None:
    try:
        return targets_for(config, name, 0.0)[0].provider
    except LLMError:
        return None


def _route(config: Config, model: str) -> tuple[str, Route]:
    """The route for `model`, and its name ("" for a plain provider/model). Raises LLMError("not_found")."""
    routes = config.settings.routes
    if model in routes:
        return model, routes[model]
    if model == DEMO:
        return DEMO, Route(targets=(Weighted(model=f"{DEMO}/{DEMO}"),))
    provider, slash, upstream = model.partition("/")
    plain = bool(slash and upstream and provider in config.settings.providers)
    patterns = [name for name in routes if "*" in name and ("/" in name or not plain) and covers(name, model)]
    if patterns:
        best = max(patterns, key=len)
        return best, routes[best]
    if plain:
        return "", Route(targets=(Weighted(model=model),))
    raise LLMError("not_found", f"The model `{model}` does not exist", param="model")


def _carried(name: str, model: str, upstream: str) -> str:
    """The provider's name for `model`: `*` alone keeps it, within more it is what the route's own `*` matched."""
    if "*" not in name:
        return upstream
    if upstream == "*":
        return model
    before, _, after = name.partition("*")
    return upstream.replace("*", model[len(before) : len(model) - len(after)])


class _Way(NamedTuple):
    """A route as it is drawn from: the targets that are on, or all where none is, and where the share of each ends."""

    name: str
    targets: tuple[str, ...]
    ends: tuple[float, ...]  # none where they are asked in order
    fallback: tuple[str, ...]

    def ordered(self, choose: float) -> tuple[str, ...]:
        """The targets, the drawn one first."""
        if not self.ends:
            return self.targets
        drawn = min(bisect_right(self.ends, choose * self.ends[-1]), len(self.targets) - 1)
        return (self.targets[drawn], *self.targets[:drawn], *self.targets[drawn + 1 :])


@lru_cache(maxsize=4096)
def _way(config: Config, model: str) -> _Way:
    name, route = _route(config, model)
    on = [target for target in route.targets if target.model.partition("/")[0] not in config.off]
    drawn = route.strategy != "ordered" and len(on) > 1
    ends = tuple(accumulate(target.weight for target in on)) if drawn else ()
    return _Way(name, tuple(target.model for target in on or route.targets), ends, route.fallback)


@lru_cache(maxsize=4096)
def _target(config: Config, route_name: str, provider: str, model: str, unsupported: Unsupported | None) -> Target:
    settings = config.settings.providers[provider]
    route = config.settings.routes.get(route_name)
    unsupported = unsupported or (route.unsupported if route else None) or settings.unsupported
    timeouts = (route.timeouts if route else None) or settings.timeouts
    publisher = config.facts.publisher(model)
    dialect = spoken(settings.dialect, publisher)
    # there the models of the two makers with a shape of their own are listed without them
    listed = model.removeprefix(f"{publisher}/") if dialect in ("vertex", "vertex_anthropic") else model
    if model.startswith("arn:"):  # Bedrock's: behind its last slash is the profile or model that it names
        listed = model.rpartition("/")[2]
    facts, row = _known(config, provider, dialect.partition("_")[0], listed, route_name)
    if facts.max_output_tokens is None and settings.max_output_tokens is not None:
        facts = replace(facts, max_output_tokens=settings.max_output_tokens)
    listed_at = None
    if dialect == "openrouter" and row is not None and "*" in row[0]:  # whose rates only bound what it will say
        its_makers = config.prices.of_maker(model)
        listed_at = price(*its_makers) if its_makers is not None else None
    return Target(
        provider,
        model,
        route_name,
        dialect,
        Endpoint(
            provider=provider,
            base_url=settings.base_url,
            api_key=settings.api_key.get_secret_value() if settings.api_key else None,
            model=model,
            facts=facts,
            headers=settings.headers,
            unsupported=unsupported,
            region=settings.region,
            project=settings.project,
            location=settings.location,
            api_version=settings.api_version,
            drop=settings.drop,
            rename=settings.rename,
            stream_usage=settings.stream_usage,
        ),
        price(*row, settings.service_tier, settings.region or _place(settings.location), listed_at) if row else None,
        Timeouts(timeouts.connect_s, timeouts.first_byte_s, timeouts.idle_s),
        timeouts.total_s,
        settings.shows_reasoning,
    )


_HOSTS = ("bedrock", "openrouter", "vertex")  # dialects that one host alone speaks


def _known(
    config: Config, provider: str, host: str, model: str, route_name: str
) -> tuple[ModelFacts, tuple[str, Row] | None]:
    """What a model there accepts, and its price: as listed for the provider itself, else for the host that it is at.

    One host may be several providers, each with a region or an account of its own.
    """
    own, row = f"{provider}/", config.prices.find(provider, model, route_name)
    if host not in _HOSTS or host == provider:
        return config.facts.lookup(provider, model), row
    if row is None or not row[0].startswith(own):
        row = config.prices.find(host, model, route_name)
    return config.facts.lookup(provider if own + model in config.facts else host, model), row


def _place(location: str) -> str:
    """A Vertex location as the price list knows it: every endpoint but the global one has the regional price."""
    return "regional" if location not in ("", "global") else location
