"""`headgate serve`: check the configuration, prepare the store, say how to begin, then run the workers."""

import asyncio
import os
import shlex
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from gateway import telemetry
from gateway.config import VARIABLES, load
from gateway.first_run import ADMIN_KEY, Made, first_run
from gateway.http1 import Connection
from gateway.ledger.opening import store_of
from gateway.proxies import Proxies
from gateway.routing import never_asked
from gateway.trust import check_named
from gateway.virtual_keys import key_in
from translators.errors import LLMError

GRACE_S = 30  # for running requests when the process is told to stop
KEPT_S = 75  # an idle connection: longer than a load balancer's 60, which would otherwise send into one that closes


def serve(host: str, port: int, workers: int, routes: Path | None, pricing: Path | None, models: Path | None) -> None:
    """Run until told to stop.

    Raises ConfigErrors for a broken configuration, LLMError for what else the environment has wrong, StoreDown where
    there is no store.
    """
    config = load(routes, pricing, models, os.environ)
    telemetry.start(os.environ)
    Proxies(os.environ)
    key_in(os.environ, ADMIN_KEY)
    check_named(os.environ)
    _check_free(host, port)
    for name, path in zip(VARIABLES, (routes, pricing, models), strict=True):
        if path is not None:
            os.environ[name] = str(path.resolve())  # the workers read the configuration for themselves
    made, warnings = asyncio.run(_prepare())
    print(welcome(made, host, port), flush=True)
    for warning in (*warnings, *never_asked(config)):
        print(f"warning: {warning}", file=sys.stderr, flush=True)
    uvicorn.run(
        "gateway.app:app",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        loop="uvloop",
        http=Connection,
        ws="none",
        access_log=False,
        log_config=None,  # ours is enough
        server_header=False,
        date_header=False,
        proxy_headers=False,  # where they matter, app.py reads them: not in front of a stream
        timeout_keep_alive=KEPT_S,
        timeout_graceful_shutdown=GRACE_S,
    )


def _check_free(host: str, port: int) -> None:
    """Before keys are made that would be shown in vain. Raises LLMError when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise LLMError("unavailable", f"cannot listen on {host}:{port}: {error.strerror or error}") from None


async def _prepare() -> tuple[Made, Sequence[str]]:
    """What was made, and what in the store's own settings may lose money."""
    store = store_of(os.environ)
    await store.open()
    try:
        warnings = await store.warnings()
        return await first_run(store, os.environ, time.time()), warnings  # last of all: its keys are shown this once
    finally:
        await store.close()


def welcome(made: Made, host: str, port: int) -> str:
    """What to do next, with the keys that are shown this once."""
    name = f"[{host}]" if ":" in host else host
    url = f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else name}:{port}"  # noqa: S104 - compared, not bound
    lines = [f"Headgate on {url}"]
    if made.admin_key:
        lines.append(
            f"\n  admin key    {made.admin_key}\n               shown this once: keep it, it makes and revokes keys"
        )
    if made.virtual_key:
        body = '{"model":"demo","stream":true,"messages":[{"role":"user","content":"Hello!"}]}'
        lines.append(
            f"\n  virtual key  {made.virtual_key}\n               shown this once: with a budget of $10 a month"
            "\n\nTry it:\n\n"
            f"  curl -N {url}/v1/chat/completions \\\n"
            f"    -H 'authorization: Bearer {made.virtual_key}' \\\n"
            "    -H 'content-type: application/json' \\\n"
            f"    -d {shlex.quote(body)}\n"
        )
    else:
        lines.append("\nKeys: `headgate keys list`, `headgate keys create`\n")
    return "\n".join(lines)
