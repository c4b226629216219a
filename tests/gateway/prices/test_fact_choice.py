"""Which of the collected models are ours, and by which name."""

from typing import Any

import pytest

from gateway.prices.fact_choice import azure, chosen, reached


def facts(provider: str, **more: Any) -> dict[str, Any]:
    return {
        "litellm_provider": provider,
        "mode": "chat",
        "input_cost_per_token": 1,
        "output_cost_per_token": 1,
        "max_output_tokens": 9,
        **more,
    }


LISTED = {
    "gpt-9": facts("openai"),
    "gemini/gemini-9": facts("gemini"),
    "claude-9": facts("anthropic"),
    "groq/openai/gpt-oss": facts("groq"),
    "deepseek-9": facts("deepseek"),
    "fireworks_ai/short": facts("fireworks_ai", source="https://f"),
    "fireworks_ai/accounts/fireworks/models/m": facts("fireworks_ai", source="https://f"),
    "vertex_ai/gemini-9": facts("vertex_ai"),
    "vertex_ai/claude-3-x": facts("vertex_ai-anthropic_models"),
    "us.anthropic.claude-9": facts("bedrock_converse", search_context_cost_per_query={}),
    "bedrock/us-east-1/us.anthropic.claude-9": facts("bedrock"),
    "azure/gpt-9": facts("azure"),
    "azure/eu/gpt-9": facts("azure"),
    "azure/model-router": facts("azure"),
    "deepinfra/m": facts("deepinfra"),
    "whisper-9": facts("openai", mode="audio_transcription"),
}


def test_models_have_our_names() -> None:
    assert list(chosen(LISTED)) == [
        *("gpt-9", "claude-9", "gemini-9", "groq/openai/gpt-oss", "fireworks/accounts/fireworks/models/m"),
        *("vertex/gemini-9", "bedrock/us.anthropic.claude-9", "deepseek/deepseek-9"),
    ]


def test_bedrocks_regions_and_azures_zones_are_kept_with_the_model() -> None:
    claude = chosen(LISTED)["bedrock/us.anthropic.claude-9"]
    assert list(claude["regional"]) == ["us-east-1"] and "search_context_cost_per_query" not in claude
    assert {name: list(each["zones"]) for name, each in azure(LISTED).items()} == {"azure/gpt-9": ["eu"]}


@pytest.mark.parametrize(
    ("more", "ours"),
    [
        ({}, True),
        ({"supported_endpoints": ["/v1/responses"]}, False),
        ({"supported_output_modalities": ["audio"]}, False),
        ({"supported_output_modalities": ["text", "image"]}, True),
        ({"mode": "embedding"}, False),
        ({"mode": "image_generation"}, False),
        (
            {
                "mode": "image_generation",
                "output_cost_per_image_token": 1,
                "supported_endpoints": ["/v1/chat/completions"],
            },
            True,
        ),
    ],
)
def test_only_what_a_chat_completion_reaches_is_ours(more: dict[str, Any], ours: bool) -> None:
    assert reached(facts("gemini", **more)) is ours
