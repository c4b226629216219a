"""GET /v1/models, /healthz and /readyz: what a client or a load balancer may ask before it sends anything."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.gateway import Gateway
from gateway.routing import allowed, known_models
from translators.errors import LLMError


async def models(request: Request) -> Response:
    """The models that the key may use, in OpenAI's shape."""
    return JSONResponse({"object": "list", "data": await _usable(request)})


async def model(request: Request) -> Response:
    """One model. Raises LLMError("not_found") for one that is not there for this key."""
    name = request.path_params["id"]
    for entry in await _usable(request):
        if entry["id"] == name:
            return JSONResponse(entry)
    raise LLMError("not_found", f"The model `{name}` does not exist or this key may not use it", param="model")


async def _usable(request: Request) -> list[dict[str, object]]:
    gateway: Gateway = request.state.gateway
    holder = await gateway.keys.holder(request.scope["headers"], fresh=True)
    records = [record for record in (holder.key, holder.team) if record is not None]
    return [
        {"id": name, "object": "model", "created": 0, "owned_by": owner}
        for name, owner in known_models(gateway.config)
        if all(allowed(record.models, name) for record in records)
    ]


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
