"""The ASGI application: one raw endpoint for what streams, Starlette for the rest, one lifespan that wires it all."""

import asyncio
import gc
import logging
import os
import time
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypedDict
from uuid import uuid4

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from gateway import listing, telemetry
from gateway.admin import http
from gateway.alerts import Alerts
from gateway.chat import chat_completions
from gateway.config import Config, files_in, load
from gateway.credentials.kinds import credentials_of
from gateway.deadlines import Deadlines
from gateway.fetch import Fetcher
from gateway.first_run import ADMIN_KEY, admin_key
from gateway.gateway import Gateway, request_ids
from gateway.keys import Keys
from gateway.ledger.hold import Ledger
from gateway.ledger.opening import store_of
from gateway.ledger.pulse import Pulse
from gateway.ledger.spool import Spool, spool_folder
from gateway.ledger.store import Store, StoreDown
from gateway.memory import Memory
from gateway.payers import Payers
from gateway.proxies import Proxies
from gateway.reports import retention
from gateway.upstream import Upstream
from gateway.usual import Usual
from translators.errors import LLMError

CHAT = "/v1/chat/completions"
OPEN_AGAIN_S = 1.0
OPEN_S = 60.0
ENDING_S = 10.0  # for the bills of requests that the end of the process cut off
# Garbage in circles is rare here (an error with its traceback), and looking for it took a sixth of a request's time:
# youngest objects made since the last look, looks until the next older ones are looked at too.
GARBAGE_LOOKS = (50_000, 20, 20)

log = logging.getLogger("headgate")


class State(TypedDict):
    """What the lifespan hands to every request."""

    gateway: Gateway


def app() -> ASGIApp:
    """The application as the environment describes it, for `uvicorn --factory`."""
    telemetry.start(os.environ)
    config = load(*files_in(os.environ), os.environ)
    gc.collect()
    gc.freeze()  # what is here now stays
    gc.set_threshold(*GARBAGE_LOOKS)
    return create_app(config, store_of(os.environ))


def create_app(config: Config, store: Store) -> ASGIApp:
    """The application over these parts; the store is opened when it starts and closed when it stops."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[State]:
        async with AsyncExitStack() as at_the_end:  # closed in the reverse order, each whatever becomes of the others
            at_the_end.callback(telemetry.LINES.flush)  # uvicorn 0.54 ends by the signal itself: nothing comes after
            await _opened(store)
            at_the_end.push_async_callback(store.close)
            gateway = await _gateway(config, store, at_the_end)
            at_the_end.push_async_callback(_ended, gateway.running)
            yield {"gateway": gateway}

    rest = Starlette(
        routes=[*listing.routes, *http.routes],
        lifespan=lifespan,
        middleware=[Middleware(ProxyHeadersMiddleware, os.environ.get("FORWARDED_ALLOW_IPS") or "127.0.0.1")],
        exception_handlers={
            HTTPException: _not_ours,
            LLMError: _told,
            StoreDown: _store_down,
            Exception: _fault,
        },
    )

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == CHAT and scope["method"] == "POST":
            await chat_completions(scope["state"]["gateway"], scope, receive, send)
        else:
            await rest(scope, receive, send)

    return dispatch


async def _gateway(config: Config, store: Store, at_the_end: AsyncExitStack) -> Gateway:
    """One worker's parts, each closed at the end."""
    settings = config.settings
    spool = Spool(spool_folder(settings.spool, os.environ), await store.claim("store_id", uuid4().hex))
    at_the_end.push_async_callback(spool.close)
    fetcher = Fetcher(settings.fetch_allow, settings.fetch_max_bytes, settings.fetch_timeout_s)
    at_the_end.push_async_callback(fetcher.close)
    alerts = Alerts(settings.alert_url.get_secret_value() if settings.alert_url else "", store)
    at_the_end.push_async_callback(alerts.close)
    payers = Payers(store, settings.offline_key_s)
    deadlines = Deadlines()
    ledger = Ledger(
        *(store, spool, alerts, time.time, deadlines),
        wait_s=settings.wait_s,
        lease_s=settings.lease_s,
        trusts=payers.trusts,
        doubts=payers.doubt,
    )
    pulse = Pulse(store, ledger, spool, settings.checkpoint_s)
    pulse.start()
    at_the_end.push_async_callback(pulse.stop)
    folding = asyncio.ensure_future(retention.run(store, settings.retention, uuid4().hex, time.time))
    at_the_end.callback(folding.cancel)
    at_the_end.push_async_callback(ledger.close)
    credentials = credentials_of(config)
    for each in credentials.values():
        at_the_end.push_async_callback(each.close)
    upstream = Upstream(settings.max_connections, Proxies(os.environ))
    at_the_end.push_async_callback(upstream.close)
    admin_digest, made = await admin_key(store, os.environ)
    if made is not None:  # by a server that is not `headgate serve`, which shows it
        log.warning("an admin key was made that nobody has seen: set %s to one of your own", ADMIN_KEY)
    return Gateway(
        config=config,
        store=store,
        ledger=ledger,
        keys=Keys(store, settings.offline_key_s),
        payers=payers,
        memory=Memory(store),
        usual=Usual(settings.usual_output_tokens),
        upstream=upstream,
        fetcher=fetcher,
        credentials=credentials,
        admin_digest=admin_digest,
        clock=time.time,
        loop=asyncio.get_running_loop(),
        deadlines=deadlines,
        ids=request_ids(),
        running=set(),
    )


async def _ended(running: Collection[asyncio.Task[None]]) -> None:
    """Requests that are cancelled after their grace still write their bills."""
    if running:
        await asyncio.wait(running, timeout=ENDING_S)


async def _opened(store: Store) -> None:
    """Open the store, and wait for one that is away: uvicorn ends all workers when one of them cannot start.

    Raises StoreDown after OPEN_S: while a worker waits here it cannot be told to stop.
    """
    deadline = time.monotonic() + OPEN_S
    while True:
        try:
            return await store.open()
        except StoreDown as error:
            if time.monotonic() > deadline:
                raise
            log.warning("waiting for the store: %s", error)
            await asyncio.sleep(OPEN_AGAIN_S)


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
