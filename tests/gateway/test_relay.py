"""A stream on its way through: silence, and clients who leave in the middle."""

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import orjson
import pytest

from gateway.client import Client
from gateway.relay import relay
from tests import replay
from tests.gateway.test_attempts import FINISH, ROLE, SAY
from tests.gateway.test_chat import ANSWER, COST, COUNT, HELLO, PRICES
from tests.replay import Reply, Upstream, event_reply, json_reply
from tests.running import Running, configured

ROUTES = """
providers:
  openai: {{dialect: openai, base_url: "{url}/v1", api_key: k, timeouts: {{idle_s: 0.3}}}}
  whole: {{dialect: openai, base_url: "{url}/v1", api_key: k, on_disconnect: drain}}
routes:
  small: openai/small
  drained: whole/small
keepalive_s: 0.1
drain_s: 2
"""


@pytest.fixture
def gateway(upstream: Upstream, tmp_path: Path) -> Iterator[Running]:
    env = {"HEADGATE_DATA": str(tmp_path / "headgate.db")}
    with configured(ROUTES.format(url=upstream.url), PRICES, env, tmp_path) as running:
        yield running


def test_a_silent_stream_is_kept_alive_by_comments_until_its_time_is_up(gateway: Running, upstream: Upstream) -> None:
    paused = event_reply(ROLE, SAY, FINISH)
    upstream.answer(replay.Reply(200, paused.headers, paused.pieces, pause_s=0.15))
    answer = gateway.chat(gateway.new_key(), HELLO | {"stream": True})
    assert b": keep-alive\n\n" in answer.content
    assert answer.content.rstrip().endswith(b"[DONE]")
    upstream.answer(paused.stalled(len(paused.pieces[0]) + len(paused.pieces[1])))
    fell_silent = gateway.chat(gateway.new_key(), HELLO | {"stream": True})
    assert b'"code":"timeout"' in fell_silent.content
    assert b"[DONE]" not in fell_silent.content


def test_a_provider_that_only_murmurs_leaves_its_client_a_sign_of_life_too(
    gateway: Running, upstream: Upstream
) -> None:
    spoken = event_reply(ROLE, SAY, FINISH)
    pieces = (*spoken.pieces[:2], *[b": PROCESSING\n\n"] * 10, *spoken.pieces[2:])
    upstream.answer(replay.Reply(200, spoken.headers, pieces, pause_s=0.04))
    answer = gateway.chat(gateway.new_key(), HELLO | {"stream": True})
    assert b": keep-alive\n\n" in answer.content
    assert answer.content.replace(b": keep-alive\n\n", b"") == spoken.body


def test_a_client_who_reads_slowly_gets_all_of_it(gateway: Running, upstream: Upstream) -> None:
    long = ROLE | {"choices": [{"index": 0, "delta": {"content": "x" * 16_000}, "finish_reason": None}]}
    said = event_reply(ROLE, *[long] * 400, FINISH, COUNT)
    upstream.answer(said)
    body = HELLO | {"stream": True, "stream_options": {"include_usage": True}}
    with httpx.stream("POST", f"{gateway.url}/v1/chat/completions", json=body, headers=bearer(gateway)) as answer:
        time.sleep(0.5)  # by then there is more than the sockets and the gateway keep
        assert b"".join(answer.iter_bytes()) == said.body
    (entry,) = gateway.entries()
    assert (entry["ending"], entry["cost_usd"]) == ("done", COST)


def bearer(gateway: Running) -> dict[str, str]:
    return {"authorization": f"Bearer {gateway.new_key()}"}


class Telling:
    """A provider's reply that says all it has without a pause."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = [*pieces, b""]

    async def flow(self, take: Callable[[bytes], bool], timeout_s: float) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        while self._pieces and take(self._pieces.pop(0)):
            pass


def test_what_a_client_was_slow_to_read_is_not_lost_where_its_hold_could_not_wait() -> None:
    told, sent = [b"data: %d\n\n" % number for number in range(9)], list[bytes]()

    async def slow() -> bytes:
        reads = asyncio.Event()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                if len(sent) >= 4:
                    await reads.wait()
                sent.append(message["body"])

        decoder = SimpleNamespace(feed=lambda data: [data], close=list, done=False, started=True, output_bytes=0)
        target = SimpleNamespace(timeouts=SimpleNamespace(idle_s=5.0))
        course: Any = SimpleNamespace(reply=Telling(*told[1:]), decoder=decoder, target=target, frames=told[:1])
        course.ended, course.first_byte = False, None
        growing: Any = SimpleNamespace(seen=True, due_bytes=10**9)
        client = Client(send, "the-id")
        assert await relay(course, client, {}, 5.0, growing) is None  # and no more is read yet
        before = b"".join(sent)
        reads.set()
        await client.end(b"end")
        return before

    assert asyncio.run(slow()) == b"".join(told[:4])
    assert b"".join(sent) == b"".join(told) + b"end"


def left(gateway: Running, upstream: Upstream, body: object) -> dict[str, object]:
    """The journal's entry of a request whose client hangs up as soon as the provider has it."""
    key, content = gateway.new_key(max_budget=1), orjson.dumps(body)
    host, _, port = gateway.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
        connection.sendall(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
        upstream.wait_until(lambda: len(upstream.requests) == 1)
    return gateway.entry()


@pytest.mark.parametrize("stream", [True, False])
def test_where_the_whole_is_billed_anyway_an_abandoned_answer_is_read_to_its_usage(
    gateway: Running, upstream: Upstream, stream: bool
) -> None:
    whole = event_reply(ROLE, SAY, FINISH, COUNT) if stream else json_reply(200, ANSWER)
    upstream.answer(Reply(whole.status, whole.headers, whole.pieces, pause_s=0.01, first_byte_s=0.05))
    entry = left(gateway, upstream, HELLO | {"model": "drained", "stream": stream})
    assert (entry["ending"], entry["estimated"], entry["cost_usd"]) == ("hung_up", False, COST)
    assert upstream.hung_up == 0


def test_it_is_not_read_for_ever(gateway: Running, upstream: Upstream) -> None:
    upstream.answer(event_reply(ROLE, SAY).stalled(400))
    entry = left(gateway, upstream, HELLO | {"model": "drained", "stream": True})
    assert (entry["ending"], entry["estimated"]) == ("hung_up", True)
    upstream.wait_until(lambda: upstream.hung_up == 1)
