"""The load of `headgate bench`, on an upstream that answers well and badly."""

import asyncio
from typing import Any

import pytest

from gateway.commands import load
from gateway.commands.load import Address, Caller, Refused, Seen, point
from gateway.proxies import Proxies
from gateway.upstream import Upstream as Pool
from tests.replay import SILENCE, Reply, Upstream, event_reply, json_reply
from translators.errors import LLMError

ANSWER = {"choices": [{"message": {"role": "assistant", "content": "Hi"}}]}
FINISH = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
ROLE = {"choices": [{"delta": {"role": "assistant", "content": ""}}]}
PAUSE_S = 0.02


def said(text: str) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text}}]}


def loaded(upstream: Upstream, *, streamed: bool = False, requests: int, seconds: float = 60.0) -> Seen:
    """What four callers see."""

    async def run() -> Seen:
        pool = Pool(4, Proxies({}))
        try:
            address = Address(f"{upstream.url}/v1", "sk-test", "small", 7)
            return await Caller(pool, address, streamed=streamed).load(4, requests, seconds)
        finally:
            await pool.close()

    return asyncio.run(run())


def asked_once(upstream: Upstream, *, streamed: bool) -> None:
    async def run() -> None:
        pool = Pool(4, Proxies({}))
        try:
            address = Address(f"{upstream.url}/v1", "", "small", 7)
            await Caller(pool, address, streamed=streamed).ask(Seen())
        finally:
            await pool.close()

    asyncio.run(run())


def test_no_more_is_asked_than_was_said(upstream: Upstream) -> None:
    upstream.handler = lambda _: json_reply(200, ANSWER, {"x-headgate-overhead-ms": "0.4"})
    seen = loaded(upstream, requests=30)
    assert len(upstream.requests) == seen.asked == len(seen.whole_ms) == 30
    assert seen.overhead_ms == [0.4] * 30
    assert not seen.errors
    asked = upstream.requests[0]
    assert (asked.path, asked.headers["authorization"]) == ("/v1/chat/completions", "Bearer sk-test")
    assert asked.json()["max_completion_tokens"] == 7
    assert upstream.connections == 4


def test_nothing_begins_when_the_time_is_over(upstream: Upstream) -> None:
    upstream.handler = lambda _: Reply(200, {}, json_reply(200, ANSWER).pieces, pause_s=PAUSE_S)
    seen = loaded(upstream, requests=1000, seconds=3 * PAUSE_S)
    assert 4 <= seen.asked == len(upstream.requests) <= 3 * 4
    assert seen.seconds >= 3 * PAUSE_S


def test_the_times_of_a_stream_are_those_of_its_content(upstream: Upstream) -> None:
    stream = event_reply(ROLE, said("one"), said("two"), said("three"), FINISH)
    upstream.handler = lambda _: Reply(200, stream.headers, stream.pieces, pause_s=PAUSE_S)
    seen = loaded(upstream, streamed=True, requests=4)
    assert (len(seen.first_ms), len(seen.between_ms)) == (4, 8)
    assert min(seen.first_ms) > 2 * PAUSE_S * 1000 * 0.9  # the second event is the first with content
    assert PAUSE_S * 1000 * 0.9 < point(sorted(seen.between_ms), 0.5) < min(seen.whole_ms)
    assert upstream.requests[0].json()["stream"] is True


def test_what_is_not_good_is_counted_by_why_and_has_no_times(upstream: Upstream) -> None:
    full = json_reply(429, {"error": {"message": "slower"}})
    upstream.answer(full, full, json_reply(200, {}), Reply(200, {}, (b"{",), ending="cut"))
    upstream.handler = lambda _: json_reply(200, ANSWER)
    seen = loaded(upstream, requests=10)
    assert seen.errors == {"429": 2, "bad_upstream": 2}
    assert (len(seen.whole_ms), seen.asked) == (6, 10)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (event_reply(said("one"), done=False), "no .DONE."),
        (event_reply(said("one"), {"error": {"message": "overloaded"}}), "broke off: overloaded"),
        (event_reply({"type": "message_start"}), "not stream as OpenAI does: .*message_start"),
        (json_reply(200, ANSWER), "no .DONE."),
    ],
)
def test_a_stream_that_is_none_is_told(upstream: Upstream, reply: Reply, why: str) -> None:
    upstream.answer(reply)
    with pytest.raises(LLMError, match=why):
        asked_once(upstream, streamed=True)


@pytest.mark.parametrize("reply", [SILENCE, Reply(200, {}, (b" ",) * 1000, pause_s=PAUSE_S)])
def test_nobody_is_waited_for_without_end(upstream: Upstream, reply: Reply, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "PATIENCE_S", 25 * PAUSE_S)  # on a slow machine a request takes some of it to arrive
    upstream.handler = lambda _: reply
    assert loaded(upstream, requests=4).errors == {"timeout": 4}
    upstream.wait_until(lambda: upstream.hung_up == 4)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (json_reply(403, {"error": {"message": "not for you"}}), "^not for you$"),
        (json_reply(403, {"error": "not for you"}), "not for you"),
        (Reply(403, {}, (b"<h1>\n Forbidden</h1>",)), "^<h1> Forbidden</h1>$"),
        (Reply(403, {}), "^nothing$"),
    ],
)
def test_a_refusal_is_told_in_its_own_words(upstream: Upstream, reply: Reply, why: str) -> None:
    upstream.answer(reply)
    with pytest.raises(Refused, match=why) as refused:
        asked_once(upstream, streamed=False)
    assert refused.value.status == 403
    assert "authorization" not in upstream.requests[0].headers


def test_points_are_nearest_ranks() -> None:
    assert [point([1.0, 2.0, 3.0, 4.0], share) for share in (0.01, 0.5, 0.75, 0.76, 0.99)] == [1, 2, 3, 4, 4]
