"""An admin's desk for tests: the admin API over a real store, asked as a client would ask it."""

import asyncio
import itertools
import secrets
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import orjson
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from gateway.admin import http
from gateway.keys import digest
from gateway.ledger.parties import counters, names_of
from gateway.ledger.store import Ask, Bill, Granted, Holder, Refused, Settled, Store
from gateway.payers import Payers

ADMIN_KEY = "sk-hg-admin-for-tests"
Json = dict[str, Any]
T = TypeVar("T")


class Worker:
    """What the endpoints need of a gateway."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.admin_digest = digest(ADMIN_KEY)
        self.clock = time.time


class Desk:
    """Asks the admin API, and spends on keys behind its back as the gateway would."""

    def __init__(self, store: Store, loop: asyncio.Runner) -> None:
        self.store = store
        self._loop = loop
        self._numbers = (f"req-{secrets.token_hex(3)}-{n}" for n in itertools.count(1))
        routed, state = Starlette(routes=http.routes), {"gateway": Worker(store)}

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await routed({**scope, "state": state}, receive, send)

        transport = httpx.ASGITransport(app=app)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://gateway")

    def send(self, method: str, path: str, **sent: Any) -> httpx.Response:
        """Any request at all."""
        return self._loop.run(self._client.request(method, path, **sent))

    def ask(self, method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None) -> httpx.Response:
        """With the admin key; `body` as JSON, bytes as they are."""
        content = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
        return self.send(method, path, content=content, params=query, headers={"authorization": f"Bearer {ADMIN_KEY}"})

    def get(self, path: str, **query: str) -> Json:
        """What a successful GET answers."""
        return self._good(self.ask("GET", path, query=query), 200)

    def make(self, kind: str, **body: Any) -> Json:
        """A new key, team, user or tag."""
        return self._good(self.ask("POST", f"/admin/{kind}s", body), 201)

    def change(self, record: Json, **body: Any) -> Json:
        """The record after a PATCH."""
        return self._good(self.ask("PATCH", path_of(record), body), 200)

    def revoke(self, record: Json) -> Json:
        """The record after a DELETE."""
        return self._good(self.ask("DELETE", path_of(record)), 200)

    def holder(self, token: str) -> Holder | None:
        """Whom the store says the token belongs to."""
        return self._loop.run(self.store.holder(digest(token)))

    def hold(
        self,
        token: str,
        nanousd: int,
        user: str | None = None,
        tags: Sequence[str] = (),
        model: str = "demo",
        lease_s: float = 10.0,
    ) -> Ask:
        """Reserve exactly that on everyone who pays for a request of the token's key."""
        holder = self.holder(token)
        assert holder is not None
        parties = self._loop.run(Payers(self.store, 0.0).reread(holder, user, tags))
        ask = Ask(
            request_id=next(self._numbers),
            standings=parties.standings,
            counters=counters(parties.parties, names_of(model), time.time()),
            least_nanousd=nanousd,
            usual_nanousd=nanousd,
            most_nanousd=nanousd,
            lease_s=lease_s,
        )
        granted = self.reserve(ask)
        assert isinstance(granted, Granted), granted
        assert granted.nanousd == nanousd
        return ask

    def spend(self, token: str, nanousd: int, user: str | None = None, tags: Sequence[str] = (), **bill: Any) -> str:
        """Hold and settle that much; the request's id."""
        ask, holder = self.hold(token, nanousd, user, tags, bill.get("model", "demo")), self.holder(token)
        assert holder is not None
        whole = Bill(
            request_id=ask.request_id,
            key_id=holder.key.id,
            team_id=holder.key.team_id,
            counters=ask.counters,
            cost_nanousd=nanousd,
            key_alias=holder.key.alias,
            end_user=user,
            tags=tuple(tags),
            **{"model": "demo", "target": "demo/demo", "ending": "done", **bill},
        )
        assert self.settle(whole).first
        return ask.request_id

    def reserve(self, ask: Ask) -> Granted | Refused:
        """What the store says to it."""

        async def reserved() -> Granted | Refused:
            return await self.store.reserve(ask)

        return self._loop.run(reserved())

    def settle(self, bill: Bill) -> Settled:
        """What the store says to it."""

        async def settled() -> Settled:
            return await self.store.settle(bill)

        return self._loop.run(settled())

    def run(self, doing: Coroutine[Any, Any, T]) -> T:
        """What a coroutine comes to, on the loop that the store was opened on."""
        return self._loop.run(doing)

    def close(self) -> None:
        """Leave nothing open."""
        self._loop.run(self._client.aclose())

    @staticmethod
    def _good(response: httpx.Response, status: int) -> Json:
        assert response.status_code == status, response.text
        answer: Json = response.json()
        return answer


def path_of(record: Json) -> str:
    """Where it is that the admin API shows a record."""
    kind = "user" if "user_id" in record else "tag" if "tag" in record else record["id"].partition("_")[0]
    return f"/admin/{kind}s/{quote(record['id'], safe='')}"


def refusal(response: httpx.Response, status: int) -> Json:
    """The error of a refused request, which has OpenAI's one shape and no other."""
    assert response.status_code == status, response.text
    body = response.json()
    assert list(body) == ["error"]
    error: Json = body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return error


@contextmanager
def desk_over(store: Store) -> Iterator[Desk]:
    """A desk over a store that is opened first and closed after."""
    with asyncio.Runner() as loop:
        loop.run(store.open())
        desk = Desk(store, loop)
        try:
            yield desk
        finally:
            desk.close()
            loop.run(store.close())
