"""GET /v1/models, /healthz and /readyz: what a client or a load balancer may ask before it sends anything.

A model is shown with what it can do and what it costs, beside OpenAI's own fields: of a route with several targets,
what each of them can do and the dearest of their prices, so that it holds whoever answers.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import fields
from decimal import Decimal

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.config import Config
from gateway.gateway import Gateway
from gateway.ledger.parties import allowed
from gateway.ledger.store import Record
from gateway.prices.pricing import FEES, NAMED, Price, Unpriced
from gateway.routing import Target, known_models, targets_for
from translators.errors import LLMError
from translators.exchange import ModelFacts

_LIMITS = {"max_input_tokens": "context_window", "max_output_tokens": "max_output_tokens"}
_SWITCHES = [field.name for field in fields(ModelFacts) if field.type in ("bool", bool)]
_INSTEAD = {"reasoning": "output", "image_input": "input"}  # rates that are only listed where they differ


async def models(request: Request) -> Response:
    """The models that the key may use, in OpenAI's shape."""
    config, records = await _asked(request)
    data = [_entry(config, name, owner) for name, owner in known_models(config) if _usable(records, name)]
    return JSONResponse({"object": "list", "data": data})


async def model(request: Request) -> Response:
    """One model, by a name of the list or as `provider/model` where that has a price.

    Raises LLMError("not_found") for one that is not there for this key.
    """
    name = request.path_params["id"]
    config, records = await _asked(request)
    owner = dict(known_models(config)).get(name) or _owner(config, name)
    if owner is None or not _usable(records, name):
        raise LLMError("not_found", f"The model `{name}` does not exist or this key may not use it", param="model")
    return JSONResponse(_entry(config, name, owner))


async def _asked(request: Request) -> tuple[Config, list[Record]]:
    gateway: Gateway = request.state.gateway
    holder = await gateway.keys.holder(dict(request.scope["headers"]), fresh=True)
    return gateway.config, [record for record in (holder.key, holder.team) if record is not None]


def _usable(records: Iterable[Record], name: str) -> bool:
    return all(allowed(record.models, name) for record in records)


def _owner(config: Config, name: str) -> str | None:
    """The provider of a plain `provider/model` that has a price."""
    provider, _, upstream = name.partition("/")
    if not upstream or provider not in config.settings.providers or provider in config.off:
        return None
    return provider if targets_for(config, name, 0.0)[0].price is not None else None


def _entry(config: Config, name: str, owner: str) -> dict[str, object]:
    targets = targets_for(config, name, 0.0)
    facts = [target.endpoint.facts for target in targets]
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": owner,
        **{shown: _least(getattr(each, limit) for each in facts) for limit, shown in _LIMITS.items()},
        "capabilities": {
            **{switch: all(getattr(each, switch) for each in facts) for switch in _SWITCHES},
            "thinking_always": any(each.thinking_always for each in facts),  # the one that is a limitation
            "thinking": facts[0].thinking if len({each.thinking for each in facts}) == 1 else "mixed",
            "reasoning_efforts": [level for level in facts[0].efforts if all(level in each.efforts for each in facts)],
        },
        "pricing": _pricing(targets),
    }


def _least(limits: Iterable[int | None]) -> int | None:
    """The lowest limit; None where one is not known."""
    found = list(limits)
    return None if None in found else min(limit for limit in found if limit is not None)


def _pricing(targets: Sequence[Target]) -> dict[str, str] | None:
    """USD per million tokens (the fees: a search, an answer) as exact strings; None where one has no price.

    They are the plain rates: a tier, a larger prompt, a region or the hour may change them (pricing.yaml, `when`).
    """
    sheets = [_rates(target.price) for target in targets]
    dearest: dict[str, Decimal] = {}
    for sheet in sheets:
        if sheet is None:
            return None
        for name, rate in sheet.items():
            dearest[name] = max(rate, dearest.get(name, rate))
    return {
        name: f"{rate.normalize():f}" for name, rate in dearest.items() if rate != dearest.get(_INSTEAD.get(name, ""))
    }


def _rates(price: Price | None) -> dict[str, Decimal] | None:
    if price is None:
        return None
    try:
        sheet = price.at(time.time()).sheet("", "", 0)
    except Unpriced:
        return None
    # units of 1e-15 USD, per token or per call
    named = zip(NAMED, sheet, strict=True)
    return {name: Decimal(units).scaleb(-15 if name in FEES else -9) for name, units in named if units is not None}


async def healthz(request: Request) -> Response:
    """The process is up."""
    return JSONResponse({"status": "ok"})


async def readyz(request: Request) -> Response:
    """The store answers too. Raises StoreDown when it does not."""
    gateway: Gateway = request.state.gateway
    await gateway.store.ping()
    return JSONResponse({"status": "ready"})


routes = [
    Route("/v1/models", models),
    Route("/v1/models/{id:path}", model),
    Route("/healthz", healthz),
    Route("/readyz", readyz),
]
