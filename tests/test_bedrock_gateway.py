"""Bedrock through a running gateway: what its SDK client streams, what reaches the host signed, what it is billed."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import openai
import pytest

from tests.replay import Upstream, recorded, recording
from tests.running import in_thread

PRICES = "models:\n  m: {input: 1, output: 10, source: made, as_of: 2026-11-20}\n"


def routes(upstream: Upstream, folder: Path, more: str) -> tuple[Path, Path]:
    (folder / "pricing.yaml").write_text(PRICES)
    (folder / "routes.yaml").write_text(
        f'providers:\n  bedrock: {{dialect: bedrock, region: eu-west-1, base_url: "{upstream.url}"{more}}}\n'
        "routes:\n  m: bedrock/us.anthropic.claude-x-v1:0\n"
    )
    return folder / "routes.yaml", folder / "pricing.yaml"


@pytest.mark.parametrize("more", [", api_key: tok", ""], ids=["key", "signed"])
def test_a_stream_is_handed_on_and_billed(
    more: str, upstream: Upstream, store_env: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK", raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    upstream.answer(recorded(recording("bedrock.converseStream", "ff8fee5cbf72")))
    at, prices = routes(upstream, tmp_path, more)
    with in_thread(at, store_env, prices) as running:
        client = openai.OpenAI(base_url=f"{running.url}/v1", api_key=running.new_key(), max_retries=0)
        with client.chat.completions.stream(model="m", messages=[{"role": "user", "content": "Who?"}]) as stream:
            stream.until_done()
            answer = stream.get_final_completion()
        assert answer.choices[0].message.content == "Ruby was created by Yukihiro Matsumoto in 1993."
        assert answer.choices[0].finish_reason == "stop"
        (entry,) = running.entries()
        assert Decimal(entry["cost_usd"]) == Decimal("0.00095")  # 670·1 + 28·10 µ$
    (sent,) = upstream.requests
    assert sent.path == "/model/us.anthropic.claude-x-v1%3A0/converse-stream"
    authorization = sent.headers["authorization"]
    if more:
        assert authorization == "Bearer tok"
    else:
        assert authorization.startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
        assert "/eu-west-1/bedrock/aws4_request" in authorization
