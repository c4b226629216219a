"""A gateway whose providers are behind an HTTP proxy: streams and whole answers come as ever."""

from pathlib import Path

import pytest

from tests.replay import Upstream, event_reply, json_reply, refused_url
from tests.running import configured

ROUTES = """
providers: {there: {dialect: openai, base_url: "http://provider.test/v1", api_key: k}}
routes: {small: there/small}
"""
PRICES = "models: {small: {input: 2.5, output: 10, source: made, as_of: 2026-11-20}}\n"
HELLO = {"model": "small", "max_completion_tokens": 40, "messages": [{"role": "user", "content": "Hello"}]}
HEAD = {"id": "chatcmpl-1", "created": 1, "model": "small"}
USAGE = {"prompt_tokens": 20, "completion_tokens": 30, "total_tokens": 50}
SAID = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
SAY = {"index": 0, "delta": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
STREAM = event_reply(
    HEAD | {"object": "chat.completion.chunk", "choices": [SAY]},
    HEAD | {"object": "chat.completion.chunk", "choices": [], "usage": USAGE},
)


@pytest.fixture(params=["answers", "refuses"])
def proxy(request: pytest.FixtureRequest, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> Upstream | None:
    """The replaying upstream as the proxy, which asks nobody else; None for one that is not there."""
    answers = request.param == "answers"
    monkeypatch.setenv("HTTP_PROXY", upstream.url if answers else refused_url())
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")  # for the tests' own client
    return upstream if answers else None


def test_providers_are_reached_through_the_proxy(proxy: Upstream | None, tmp_path: Path) -> None:
    with configured(ROUTES, PRICES, {"HEADGATE_DATA": str(tmp_path / "headgate.db")}, tmp_path) as gateway:
        key = gateway.new_key(max_budget=1)
        if proxy is None:
            refused = gateway.chat(key, HELLO)
            assert refused.status_code == 502 and "the proxy 127.0.0.1, could" in refused.json()["error"]["message"]
            return
        proxy.answer(json_reply(200, HEAD | {"object": "chat.completion", "choices": [SAID], "usage": USAGE}), STREAM)
        assert gateway.chat(key, HELLO).json()["choices"][0]["message"]["content"] == "Hi"
        streamed = gateway.chat(key, HELLO | {"stream": True}).text
        assert '"content": "Hi"' in streamed and streamed.endswith("data: [DONE]\n\n")
        assert [asked.path for asked in proxy.requests] == ["http://provider.test/v1/chat/completions"] * 2
        assert proxy.requests[0].headers["host"] == "provider.test"
        assert len(gateway.entries()) == 2
