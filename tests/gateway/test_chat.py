"""One request against a running gateway: what a client sees and what is billed, when things go well and when not."""

import gzip
import json
import logging
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway import keys
from gateway.admin.answers import iso
from tests import replay
from tests.gateway.caller import Client
from tests.replay import Reply, Upstream, event_reply, json_reply
from tests.running import Running, configured
from translators import gemini_answer
from translators.registry import TRANSLATORS

ROUTES = """
providers:
  openai: {{dialect: openai, base_url: "{url}/v1", api_key: the-provider-key}}
  anthropic: {{dialect: anthropic, base_url: "{url}", api_key: the-provider-key}}
  gemini: {{dialect: gemini, base_url: "{url}", api_key: the-provider-key}}
  second: {{dialect: openai, base_url: "{url}/second", api_key: k}}
  down: {{dialect: openai, base_url: "{down}", api_key: k}}
routes:
  small: openai/small
  claude: anthropic/small
  flash: gemini/small
  safe: {{targets: [{{model: openai/small}}], fallback: [second/small]}}
  mixed: {{targets: [{{model: openai/small}}], strategy: ordered, fallback: [anthropic/small]}}
  safer: {{targets: [{{model: down/small}}], strategy: ordered, fallback: [second/small]}}
max_body_bytes: 4000
"""
PRICES = "models:\n  small: {input: 2.5, output: 10, source: made, as_of: 2026-11-20}\n"
HELLO: dict[str, Any] = {"model": "small", "messages": [{"role": "user", "content": "Hello"}]}
USAGE = {"prompt_tokens": 20, "completion_tokens": 30, "total_tokens": 50}
HEAD = {"id": "chatcmpl-1", "created": 1, "model": "small-2026"}
ANSWER = HEAD | {
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": USAGE,
}
CHUNK = HEAD | {"object": "chat.completion.chunk"}
SAY = CHUNK | {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hi there"}, "finish_reason": None}]}
FINISH = CHUNK | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
COUNT = CHUNK | {"choices": [], "usage": USAGE}
STREAM = event_reply(SAY, FINISH, COUNT)
COST = "0.00035"  # 20·2.5 + 30·10 = 350 µ$


@pytest.fixture
def gateway(upstream: Upstream, store_env: Mapping[str, str], tmp_path: Path) -> Iterator[Running]:
    with configured(ROUTES.format(url=upstream.url, down=replay.refused_url()), PRICES, store_env, tmp_path) as running:
        yield running


def error_of(answer: httpx.Response) -> dict[str, Any]:
    """The error of a refused request, whose shape is OpenAI's."""
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert isinstance(body["error"]["message"], str) and body["error"]["message"]
    assert answer.headers["x-request-id"]
    error: dict[str, Any] = body["error"]
    return error


def messages(*more: object) -> dict[str, Any]:
    return {"model": "small", "messages": [{"role": "user", "content": "Hello"}, *more]}


TOO_LONG = json.dumps(HELLO | {"user": "x" * 4000}).encode()
BAD_IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}}
NO_BASE64 = {"type": "image_url", "image_url": {"url": "data:image/png;base64,***"}}
NO_URL = {"type": "image_url", "image_url": {"url": "http://user:pw@[::1"}}
DEEP = b"[" * 300 + b"]" * 300
LOST_RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "4"}
BAD_REQUESTS: dict[str, tuple[object, int, str | None]] = {
    "no JSON": (b"{", 400, None),
    "no object": (b"[]", 400, None),
    "not UTF-8": (b'{"model": "\xff"}', 400, None),
    "no model": ({"messages": HELLO["messages"]}, 400, "model"),
    "no messages": ({"model": "small"}, 400, "messages"),
    "empty messages": ({"model": "small", "messages": []}, 400, "messages"),
    "messages of a wrong type": ({"model": "small", "messages": "Hello"}, 400, "messages"),
    "a wrong type": (HELLO | {"temperature": "hot"}, 400, "temperature"),
    "out of range": (HELLO | {"top_p": 3}, 400, "top_p"),
    "a wrong role": (messages({"role": "robot", "content": "?"}), 400, "messages[1].role"),
    "a tool result without its call": (messages(LOST_RESULT), 400, "messages[1].tool_call_id"),
    "no image": (messages({"role": "user", "content": [BAD_IMAGE]}), 400, "messages[1].content[0].image_url.url"),
    "no base64": (messages({"role": "user", "content": [NO_BASE64]}), 400, "messages[1].content[0].image_url.url"),
    "a model nobody has": (HELLO | {"model": "nobody"}, 404, "model"),
    "a model without a price": (HELLO | {"model": "openai/unheard-of"}, 400, "model"),
    "too long": (TOO_LONG, 413, None),
    "nested too deeply": (
        b'{"model":"small","messages":[{"role":"user","content":"x"}],"metadata":{"a":' + DEEP + b"}}",
        400,
        None,
    ),
    "modalities of a wrong type": (HELLO | {"modalities": 5}, 400, "modalities"),
    "a function call of a wrong type": (HELLO | {"model": "flash", "function_call": 5}, 400, "function_call"),
    "a limit beyond all bounds": (HELLO | {"max_tokens": 10**18}, 400, "max_tokens"),
    "no URL": (messages({"role": "user", "content": [NO_URL]}), 400, "messages[1].content[0].image_url.url"),
    "what the provider has no word for": (HELLO | {"model": "claude", "logit_bias": {"1": 5}}, 400, "logit_bias"),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_a_bad_request_gets_one_clear_error_and_costs_nothing(gateway: Running, upstream: Upstream, case: str) -> None:
    body, status, param = BAD_REQUESTS[case]
    answer = gateway.chat(gateway.new_key(), body)
    assert answer.status_code == status, answer.text
    assert error_of(answer)["param"] == param
    assert upstream.requests == []
    assert gateway.admin("GET", "usage")["spend_usd"] == gateway.admin("GET", "usage")["held_usd"] == "0"
    upstream.answer(json_reply(200, ANSWER))
    assert gateway.chat(gateway.new_key(), HELLO).status_code == 200


def test_a_compressed_body_is_refused_for_what_it_is(gateway: Running, upstream: Upstream) -> None:
    key, packed = gateway.new_key(), gzip.compress(json.dumps(HELLO).encode())
    answer = gateway.chat(key, packed, **{"content-encoding": "gzip"})
    assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "identity")
    assert "'gzip'" in error_of(answer)["message"]
    upstream.answer(json_reply(200, ANSWER))
    assert gateway.chat(key, HELLO, **{"content-encoding": "identity"}).status_code == 200


def test_a_bad_key_gets_a_401_and_a_model_out_of_reach_a_403(gateway: Running, upstream: Upstream) -> None:
    assert gateway.chat(None, HELLO).status_code == 401
    assert error_of(gateway.chat("sk-unknown", HELLO))["code"] == "invalid_api_key"
    expired = gateway.new_key(expires=iso(time.time() + 0.3))
    time.sleep(0.4)
    assert error_of(gateway.chat(expired, HELLO))["code"] == "key_expired"
    made = gateway.admin("POST", "keys", {})
    upstream.answer(json_reply(200, ANSWER))
    assert gateway.chat(made["key"], HELLO).status_code == 200
    gateway.admin("DELETE", f"keys/{made['id']}")
    revoked = gateway.chat(made["key"], HELLO)
    assert (revoked.status_code, error_of(revoked)["code"]) == (401, "key_revoked")
    limited = gateway.new_key(models=["claude*"])
    assert error_of(gateway.chat(limited, HELLO))["code"] == "model_not_allowed"
    team = gateway.admin("POST", "teams", {"models": ["flash"]})["id"]
    assert gateway.chat(gateway.new_key(team_id=team), HELLO).status_code == 403
    assert len(upstream.requests) == 1


def test_a_whole_answer_comes_as_the_provider_sent_it_with_its_bill(gateway: Running, upstream: Upstream) -> None:
    upstream.answer(json_reply(200, ANSWER))
    answer = gateway.chat(gateway.new_key(key_alias="mine"), HELLO, **{"x-secret": "of the client"})
    assert answer.content == json_reply(200, ANSWER).body
    assert answer.headers["x-headgate-cost-usd"] == COST
    assert answer.headers["x-headgate-target"] == "openai/small"
    assert answer.headers["x-headgate-attempts"] == "1"
    sent = upstream.requests[0]
    assert sent.headers["authorization"] == "Bearer the-provider-key"
    assert "x-secret" not in sent.headers
    (entry,) = gateway.entries()
    assert (entry["cost_usd"], entry["key_alias"], entry["ending"], entry["estimated"]) == (COST, "mine", "done", False)
    assert entry["tokens"] == {"input_tokens": 20, "output_tokens": 30}
    assert entry["request_id"] == answer.headers["x-request-id"]


def test_a_stream_is_relayed_and_usage_is_for_those_who_asked(gateway: Running, upstream: Upstream) -> None:
    key = gateway.new_key()
    upstream.answer(STREAM.dripped(9), STREAM)
    plain = gateway.chat(key, HELLO | {"stream": True})
    asked = gateway.chat(key, HELLO | {"stream": True, "stream_options": {"include_usage": True}})
    assert plain.headers["content-type"].startswith("text/event-stream")
    assert asked.content == STREAM.body
    assert plain.content == STREAM.body.replace(STREAM.pieces[2], b"")
    assert json.loads(upstream.requests[0].body)["stream_options"] == {"include_usage": True}
    assert [entry["cost_usd"] for entry in gateway.entries()] == [COST, COST]


FAILING: dict[str, tuple[Reply, int]] = {
    "408": (json_reply(408, {"error": {"message": "slow"}}), 408),
    "409": (json_reply(409, {"error": {"message": "busy"}}), 409),
    "429": (json_reply(429, {"error": {"message": "rate"}}, {"retry-after": "7"}), 429),
    "500": (json_reply(500, {"error": {"message": "oh"}}), 502),
    "529": (json_reply(529, {"error": {"message": "overloaded"}}), 503),
    "401": (json_reply(401, {"error": {"message": "your key the-provider-key is bad"}}), 502),
    "HTML": (replay.HTML, 502),
    "HTML as a success": (Reply(200, {"content-type": "text/html"}, (b"<html></html>",)), 502),
    "nothing": (replay.NOTHING, 502),
    "no JSON": (Reply(200, replay.JSON, (b'{"id": ',)), 502),
    "an error inside a 200": (json_reply(200, {"error": {"message": "sorry", "code": 500}}), 502),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("case", FAILING)
def test_a_provider_that_fails_is_told_clearly_and_another_answers_instead(
    gateway: Running, upstream: Upstream, case: str, stream: bool
) -> None:
    reply, status = FAILING[case]
    key = gateway.new_key()
    upstream.answer(reply)
    alone = gateway.chat(key, HELLO | {"stream": stream})
    assert alone.status_code == status, alone.text
    assert "the-provider-key" not in alone.text
    error_of(alone)
    if case == "429":
        assert alone.headers["retry-after"] == "7"
    upstream.answer(reply, STREAM if stream else json_reply(200, ANSWER))
    saved = gateway.chat(key, HELLO | {"model": "safe", "stream": stream})
    assert saved.status_code == 200
    assert (saved.headers["x-headgate-target"], saved.headers["x-headgate-attempts"]) == ("second/small", "2")
    assert gateway.admin("GET", "usage")["spend_usd"] == COST
    assert gateway.admin("GET", "usage")["held_usd"] == "0"


def test_a_400_of_the_provider_blames_the_client_and_is_not_tried_elsewhere(
    gateway: Running, upstream: Upstream
) -> None:
    told = {"error": {"message": "no such thing", "type": "invalid_request_error", "param": "top_p", "code": "bad"}}
    upstream.answer(json_reply(422, told, {"x-request-id": "req-of-the-provider"}))
    answer = gateway.chat(gateway.new_key(), HELLO | {"model": "safe"})
    assert (answer.status_code, error_of(answer)) == (422, told["error"])
    assert answer.headers["x-upstream-request-id"] == "req-of-the-provider"
    assert len(upstream.requests) == 1


def test_a_refused_connection_falls_back(gateway: Running, upstream: Upstream) -> None:
    upstream.answer(json_reply(200, ANSWER))
    answer = gateway.chat(gateway.new_key(), HELLO | {"model": "safer"})
    assert (answer.status_code, answer.headers["x-headgate-target"]) == (200, "second/small")


def test_an_error_in_the_middle_of_a_stream_is_an_event_and_no_done(gateway: Running, upstream: Upstream) -> None:
    broken = event_reply(SAY, {"error": {"message": "the model fell over", "type": "server_error"}})
    upstream.answer(broken)
    answer = gateway.chat(gateway.new_key(), HELLO | {"stream": True})
    assert b"Hi there" in answer.content
    assert b"the model fell over" in answer.content
    assert b"[DONE]" not in answer.content
    (entry,) = gateway.entries()
    assert entry["estimated"] and float(entry["cost_usd"]) > 0


def test_a_stream_that_is_cut_is_no_success_and_what_was_said_is_billed(gateway: Running, upstream: Upstream) -> None:
    upstream.answer(STREAM.cut(len(STREAM.pieces[0])))
    answer = gateway.chat(gateway.new_key(), HELLO | {"stream": True})
    assert b"Hi there" in answer.content
    assert b'"error"' in answer.content
    assert b"[DONE]" not in answer.content
    (entry,) = gateway.entries()
    assert (entry["ending"], entry["estimated"]) == ("failed", True)
    assert float(entry["cost_usd"]) > 0


def test_half_a_whole_answer_is_an_error_and_was_generated_all_the_same(gateway: Running, upstream: Upstream) -> None:
    upstream.answer(json_reply(200, ANSWER).cut(60))
    answer = gateway.chat(gateway.new_key(), HELLO)
    assert (answer.status_code, error_of(answer)["code"]) == (502, "provider_cut_off")
    assert len(upstream.requests) == 1
    (entry,) = gateway.entries()
    assert entry["estimated"] and float(entry["cost_usd"]) > 0


def test_usage_that_never_came_is_estimated_and_never_free(gateway: Running, upstream: Upstream) -> None:
    key = gateway.new_key()
    silent = {name: value for name, value in ANSWER.items() if name != "usage"}
    upstream.answer(json_reply(200, silent), event_reply(SAY, FINISH), json_reply(200, ANSWER | {"usage": {}}))
    for stream in (False, True, False):
        assert gateway.chat(key, HELLO | {"stream": stream}).status_code == 200
    entries = gateway.entries()
    assert len(entries) == 3
    assert all(entry["estimated"] and float(entry["cost_usd"]) > 0 for entry in entries)


@pytest.mark.parametrize("when", ["before the answer", "within the stream", "before a whole answer"])
def test_a_client_that_hangs_up_cancels_the_provider_and_pays_for_what_was_generated(
    gateway: Running, upstream: Upstream, when: str
) -> None:
    key = gateway.new_key()
    upstream.answer(STREAM.stalled(len(STREAM.pieces[0])) if when == "within the stream" else replay.SILENCE)
    body = json.dumps(HELLO | {"stream": when != "before a whole answer"}).encode()
    caller = Client(int(gateway.url.rpartition(":")[2]))
    caller.send("POST /v1/chat/completions", body, authorization=f"Bearer {key}")
    upstream.wait_until(lambda: len(upstream.requests) == 1)
    if when == "within the stream":
        while b"Hi there" not in caller.file.readline():
            pass
    caller.hang_up()
    upstream.wait_until(lambda: upstream.hung_up == 1)
    entry = gateway.entry()
    assert (entry["ending"], entry["estimated"]) == ("hung_up", True)
    assert entry["tokens"]["input_tokens"] > 0
    assert ("output_tokens" in entry["tokens"]) == (when == "within the stream")
    assert gateway.admin("GET", "usage")["held_usd"] == "0"


def test_over_budget_is_429_before_the_provider_is_asked(gateway: Running, upstream: Upstream) -> None:
    key = gateway.new_key(max_budget=COST)
    upstream.handler = lambda _: json_reply(200, ANSWER)
    assert gateway.chat(key, HELLO).status_code in (200, 429)
    spent = gateway.new_key(max_budget="0.002")
    answers = [gateway.chat(spent, HELLO) for _ in range(8)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.status_code for answer in answers} == {200, 429}
    assert all(error_of(answer)["code"] == "insufficient_quota" for answer in refused)
    assert all(answer.headers["x-should-retry"] == "false" for answer in refused)
    assert len(upstream.requests) == sum(entry["cost_usd"] == COST for entry in gateway.entries())


def test_who_is_refused_without_a_bill_is_in_the_log_and_nobody_is_twice(
    gateway: Running, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.answer(json_reply(400, {"error": {"message": "too warm"}}))
    poor, key = gateway.new_key(max_budget="0.000001"), gateway.new_key()
    with caplog.at_level(logging.INFO, "headgate"):
        for token, asked in (("sk-hg-nobody", HELLO), (poor, HELLO), (key, HELLO | {"model": "none"}), (key, HELLO)):
            assert not gateway.chat(token, asked).is_success
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.message.startswith("{")]
    assert [(line["ending"], line["error_code"], bool(line["key_id"])) for line in lines] == [
        ("refused", "invalid_api_key", False),
        ("refused", "insufficient_quota", True),
        ("refused", "model_not_found", True),
        ("failed", None, True),
    ]
    assert "$0.000001 of $0.000001 is left" in lines[1]["error"]


def test_an_answer_is_made_shorter_where_the_cap_affords_no_longer_one(gateway: Running, upstream: Upstream) -> None:
    upstream.answer(json_reply(200, ANSWER))
    answer = gateway.chat(gateway.new_key(max_budget="0.002"), HELLO | {"max_tokens": 5000})
    sent = json.loads(upstream.requests[0].body)["max_tokens"]
    assert 16 <= sent < 200
    assert answer.headers["x-headgate-dropped"] == f"max_completion_tokens={sent}"


def test_a_cap_that_refuses_takes_the_whole_or_nothing(gateway: Running, upstream: Upstream) -> None:
    key = gateway.new_key(budgets=[{"max_budget": "0.002", "on_cap": "refuse"}])
    assert error_of(gateway.chat(key, HELLO | {"max_tokens": 5000}))["code"] == "insufficient_quota"
    assert upstream.requests == []


def test_a_team_s_cap_holds_for_all_its_keys(gateway: Running, upstream: Upstream) -> None:
    upstream.handler = lambda _: json_reply(200, ANSWER)
    team = gateway.admin("POST", "teams", {"max_budget": "0.001"})["id"]
    keys = [gateway.new_key(team_id=team) for _ in range(3)]
    codes = [gateway.chat(key, HELLO).status_code for _ in range(3) for key in keys]
    assert codes.count(200) in (1, 2)
    assert gateway.admin("GET", f"teams/{team}")["spend_usd"] in ("0.00035", "0.0007")


def test_a_provider_s_message_is_passed_on_without_our_key(gateway: Running, upstream: Upstream) -> None:
    for status in (400, 403, 429, 500):
        upstream.answer(json_reply(status, {"error": {"message": "the-provider-key is bad"}}))
        answer = gateway.chat(gateway.new_key(), HELLO)
        assert "the-provider-key" not in answer.text


def test_a_list_of_models_that_is_narrowed_holds_at_once(gateway: Running, upstream: Upstream) -> None:
    upstream.handler = lambda _: json_reply(200, ANSWER)
    made = gateway.admin("POST", "keys", {})
    assert gateway.chat(made["key"], HELLO).status_code == 200
    gateway.admin("PATCH", f"keys/{made['id']}", {"models": ["claude"]})
    assert gateway.chat(made["key"], HELLO).status_code == 403


def test_a_list_of_models_that_is_widened_holds_soon(
    gateway: Running, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "REFUSED_S", 0.0)  # not again within a second
    upstream.handler = lambda _: json_reply(200, ANSWER)
    made = gateway.admin("POST", "keys", {"models": ["claude"]})
    assert gateway.chat(made["key"], HELLO).status_code == 403
    gateway.admin("PATCH", f"keys/{made['id']}", {"models": ["claude", "small"]})
    assert gateway.chat(made["key"], HELLO).status_code == 200


def test_what_nothing_bounds_is_not_for_a_capped_key(gateway: Running, upstream: Upstream) -> None:
    upstream.handler = lambda _: json_reply(200, ANSWER)
    rerouting = HELLO | {"models": ["something/dearer"]}
    capped = gateway.chat(gateway.new_key(max_budget=1), rerouting)
    assert (capped.status_code, error_of(capped)["param"]) == (400, "models")
    assert gateway.chat(gateway.new_key(), rerouting).status_code == 200


def test_no_limit_is_made_up_for_a_key_without_a_cap(gateway: Running, upstream: Upstream) -> None:
    upstream.handler = lambda _: json_reply(200, ANSWER)
    free, capped = gateway.chat(gateway.new_key(), HELLO), gateway.chat(gateway.new_key(max_budget=1), HELLO)
    assert "x-headgate-dropped" not in free.headers and "x-headgate-dropped" in capped.headers
    assert ["max_completion_tokens" in json.loads(request.body) for request in upstream.requests] == [False, True]


def test_behind_done_nothing_matters(gateway: Running, upstream: Upstream) -> None:
    upstream.answer(STREAM.cut(len(STREAM.body)), STREAM.stalled(len(STREAM.body)))
    for _ in range(2):
        answer = gateway.chat(gateway.new_key(), HELLO | {"stream": True})
        assert answer.content.rstrip().endswith(b"data: [DONE]")
    assert [entry["ending"] for entry in gateway.entries()] == ["done", "done"]


def test_what_goes_on_behind_done_is_not_listened_to(gateway: Running, upstream: Upstream) -> None:
    upstream.answer(Reply(200, STREAM.headers, (*STREAM.pieces, *[b": more\n\n"] * 1000), pause_s=0.01))
    answer = gateway.chat(gateway.new_key(), HELLO | {"stream": True})
    assert answer.content.rstrip().endswith(b"data: [DONE]")
    upstream.wait_until(lambda: upstream.hung_up == 1)


def test_a_provider_s_nonsense_is_neither_a_crash_nor_free(gateway: Running, upstream: Upstream) -> None:
    absurd = ANSWER | {"usage": {"prompt_tokens": 10, "completion_tokens": 10**17}}
    odd = {name: value for name, value in ANSWER.items() if name != "usage"} | {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": 5}, "finish_reason": "stop"}]
    }
    upstream.answer(json_reply(200, absurd), json_reply(200, odd))
    for _ in range(2):
        assert gateway.chat(gateway.new_key(), HELLO).status_code == 200
    assert all(entry["estimated"] and float(entry["cost_usd"]) > 0 for entry in gateway.entries())
    assert gateway.admin("GET", "usage")["held_usd"] == "0"


DEPTH = 300  # deeper than what is written, and not than what is read
SPOKEN = {
    "candidates": [
        {"content": {"role": "model", "parts": [{"text": "Hi"}]}, "finishReason": "STOP", "groundingMetadata": "deep"}
    ],
    "usageMetadata": {"promptTokenCount": 20, "candidatesTokenCount": 30, "totalTokenCount": 50},
}


def spoken(stream: bool, metadata: str = "{}") -> Reply:
    """A whole answer of Gemini's, or its only event."""
    said = json.dumps(SPOKEN).replace('"deep"', metadata).encode()
    return Reply(200, {}, (b"data: " + said + b"\r\n\r\n",) if stream else (said,))


@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_written_anew_is_an_error_and_billed_as_it_was_counted(
    gateway: Running, upstream: Upstream, stream: bool
) -> None:
    upstream.answer(spoken(stream, '{"a":' * DEPTH + "1" + "}" * DEPTH))
    answer = gateway.chat(gateway.new_key(max_budget=1), HELLO | {"model": "flash", "stream": stream})
    assert b'"bad_provider_answer"' in answer.content and b"[DONE]" not in answer.content
    assert float(gateway.entry()["cost_usd"]) == float(COST)


@pytest.mark.parametrize("stream", [False, True])
def test_after_a_fault_of_ours_the_provider_is_paid_and_nothing_stays_held(
    gateway: Running, upstream: Upstream, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(gemini_answer.Decoder, "close", fault)
    monkeypatch.setattr(TRANSLATORS["gemini"], "response", fault)
    upstream.answer(spoken(stream))
    answer = gateway.chat(gateway.new_key(max_budget=1), HELLO | {"model": "flash", "stream": stream})
    assert b'"internal_error"' in answer.content and b"[DONE]" not in answer.content
    assert float(gateway.entry()["cost_usd"]) > 0


def test_a_body_in_chunks_that_is_too_large_is_told_so(gateway: Running) -> None:
    caller = Client(int(gateway.url.rpartition(":")[2]))
    size = 5000
    head = {"authorization": f"Bearer {gateway.new_key()}", "transfer_encoding": "chunked"}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in head.items()]
    begin = "\r\n".join(["POST /v1/chat/completions HTTP/1.1", "host: x", *lines, "", f"{size:x}", ""]).encode()
    caller.socket.sendall(begin + b"x" * size + b"\r\n0\r\n\r\n")
    assert caller.whole()[0] == 413
    caller.hang_up()


def test_a_connection_is_nobody_s_for_ever(gateway: Running, upstream: Upstream) -> None:
    upstream.handler = lambda _: json_reply(200, ANSWER)
    made, other = gateway.admin("POST", "keys", {}), gateway.new_key()
    with httpx.Client(headers={"authorization": f"Bearer {made['key']}"}) as client:
        for _ in range(3):  # the second is like the first, and known by that
            assert client.post(f"{gateway.url}/v1/chat/completions", json=HELLO).status_code == 200
        gateway.admin("DELETE", f"keys/{made['id']}")
        refused = client.post(f"{gateway.url}/v1/chat/completions", json=HELLO)
        assert (refused.status_code, error_of(refused)["code"]) == (401, "key_revoked")
        headers = {"authorization": f"Bearer {other}"}
        assert client.post(f"{gateway.url}/v1/chat/completions", json=HELLO, headers=headers).status_code == 200
        assert client.post(f"{gateway.url}/v1/chat/completions", json=HELLO).status_code == 401
