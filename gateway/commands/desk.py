"""Where a command is carried out: on the store at hand, or by URL on a running gateway. And what commands share."""

import argparse
import asyncio
import json
import os
import time
from typing import Any
from urllib.parse import quote

from gateway.admin.operations import OPERATIONS, answer
from gateway.first_run import ADMIN_KEY
from gateway.ledger.opening import store_of
from gateway.virtual_keys import key_in
from translators.errors import LLMError

Json = dict[str, Any]
MAKING = ("create_key", "create_team", "create_user", "create_tag", "change_org")  # what may be first in a ledger


def done(args: argparse.Namespace, operation: str, given: Json) -> Json:
    """What the operation answers, printed as it is when JSON is asked for."""
    found = answered(args, operation, given)
    if args.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    return found


def answered(args: argparse.Namespace, operation: str, given: Json) -> Json:
    """What the operation answers."""
    id = getattr(args, "id", "")
    return asyncio.run(_by_url(args.url, operation, id, given) if args.url else _directly(operation, id, given))


async def _by_url(url: str, name: str, id: str, given: Json) -> Json:
    from gateway.fetch import admin_call

    operation = OPERATIONS[name]
    path = operation.path.replace("{id}", quote(id, safe=""))
    query, body = ({}, given) if operation.has_body else (given, None)
    found: Json = await admin_call(url, admin_key_for(url), operation.method, path, query, body)
    return found


def admin_key_for(url: str) -> str:
    """The admin key that the environment has. Raises LLMError when there is none."""
    if admin_key := key_in(os.environ, ADMIN_KEY):
        return admin_key
    raise LLMError("authentication", f"set {ADMIN_KEY} to the admin key of {url}")


async def _directly(name: str, id: str, given: Json) -> Json:
    store = store_of(os.environ, may_make=name in MAKING)
    await store.open()
    try:
        return await answer(OPERATIONS[name], store, time.time(), id, given)
    finally:
        await store.close()


# --- the options


def command(commands: Any, name: str, about: str, run: Any) -> argparse.ArgumentParser:
    """A sub-command of `commands` that `run` carries out."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=about, description=about)
    parser.set_defaults(run=run, failed=1)
    return parser


def add_where(command: argparse.ArgumentParser) -> None:
    """The options that say where, and `--json`."""
    about = "a running gateway, with HEADGATE_ADMIN_KEY; else the store at REDIS_URL or HEADGATE_DATA"
    command.add_argument("--url", default=os.environ.get("HEADGATE_URL"), help=about)
    command.add_argument("--json", action="store_true", help="print the answer as it is")


def written(text: str) -> str:
    """An option that must not be empty, nor be other than UTF-8."""
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("must be UTF-8") from None
    return text


def an_id(text: str) -> str:
    """The id of a record, which must be able to stand in a path."""
    if text in (".", ".."):
        raise argparse.ArgumentTypeError("cannot be . or .., which clients take out of a URL")
    return written(text)


def json_of(text: str) -> Any:
    """An option in JSON."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"is not JSON: {error}") from None


def exact_json(text: str) -> Any:
    """JSON whose fractions stay as they are written: amounts are exact."""
    json_of(text)
    return json.loads(text, parse_float=str)
