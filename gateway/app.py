"""The ASGI application: one raw endpoint for what streams, Starlette for the rest, one lifespan that wires it all."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypedDict

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway import admin, listing, telemetry
from gateway.chat import chat_completions
from gateway.config import Config, load
from gateway.credentials import credentials_of
from gateway.fetch import Fetcher
from gateway.first_run import admin_key
from gateway.gateway import Gateway
from gateway.keys import Keys
from gateway.ledger.hold import Ledger
from gateway.ledger.opening import store_of
from gateway.ledger.store import Store, StoreDown
from gateway.memory import Memory
from gateway.upstream import Upstream
from gateway.usual import Usual
from translators.errors import LLMError

CHAT = "/v1/chat/completions"
ENDING_S = 10.0  # for the bills of requests that the end of the process cut off


class State(TypedDict):
    """What the lifespan hands to every request."""

    gateway: Gateway


def app() -> ASGIApp:
    """The application as the environment describes it, for `uvicorn --factory`."""
    routes, pricing = os.environ.get("HEADGATE_ROUTES"), os.environ.get("HEADGATE_PRICING")
    telemetry.start(os.environ)
    config = load(Path(routes) if routes else None, Path(pricing) if pricing else None, None, os.environ)
    return create_app(config, store_of(os.environ))


def create_app(config: Config, store: Store) -> ASGIApp:
    """The application over these parts; the store is opened when it starts and closed when it stops."""

    running: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[State]:
        await store.open()
        digest, _made = await admin_key(store, os.environ)
        settings = config.settings
        ledger = Ledger(store, settings.wait_s, time.time)
        upstream = Upstream(settings.max_connections)
        fetcher = Fetcher(settings.fetch_allow, settings.fetch_max_bytes, settings.fetch_timeout_s)
        credentials = credentials_of(config)
        gateway = Gateway(
            config=config,
            store=store,
            ledger=ledger,
            keys=Keys(store),
            memory=Memory(store),
            usual=Usual(settings.usual_output_tokens),
            upstream=upstream,
            fetcher=fetcher,
            credentials=credentials,
            admin_digest=digest,
            clock=time.time,
        )
        try:
            yield {"gateway": gateway}
        finally:
            if running:  # cancelled after their grace, they still write their bills
                await asyncio.wait(running, timeout=ENDING_S)
            await upstream.close()
            await fetcher.close()
            for each in credentials.values():
                await each.close()
            await ledger.close()
            await store.close()

    rest = Starlette(
        routes=[*listing.routes, *admin.routes],
        lifespan=lifespan,
        exception_handlers={
            HTTPException: _not_ours,
            LLMError: _told,
            StoreDown: _store_down,
            Exception: _fault,
        },
    )

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == CHAT and scope["method"] == "POST":
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - for the type checker: a coroutine always runs in a task
            running.add(task)
            try:
                await chat_completions(scope["state"]["gateway"], scope, receive, send)
            finally:
                running.discard(task)
        else:
            await rest(scope, receive, send)

    return dispatch


def _shape(error: LLMError) -> Response:
    return JSONResponse(error.body(), status_code=error.status, headers=error.headers)


async def _told(request: Request, error: Exception) -> Response:
    assert isinstance(error, LLMError)  # noqa: S101 - registered for this class alone
    return _shape(error)


async def _not_ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class alone
    message = f"{request.method} {request.url.path} is not served here: {error.detail}"
    return _shape(
        LLMError("not_found", message, code="unknown_url", status=error.status_code, headers=dict(error.headers or {}))
    )


async def _store_down(request: Request, error: Exception) -> Response:
    return _shape(LLMError("unavailable", "The ledger's store does not answer"))


async def _fault(request: Request, error: Exception) -> Response:
    return _shape(LLMError("internal", "The gateway failed; the operator's log has the reason"))
