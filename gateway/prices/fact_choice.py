"""Which of LiteLLM's collected models a chat completion can reach at our providers, and by which name of ours.

For gateway/fact_rows.py (prices) and scripts/import_facts (prices and models.yaml).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

Facts = dict[str, Any]

MAKERS = {"openai": "openai", "anthropic": "anthropic", "gemini": "gemini"}
HOSTS = {  # their names there → in routes.yaml
    "groq": "groq",
    "mistral": "mistral",
    "deepseek": "deepseek",
    "xai": "xai",
    "together_ai": "together",
    "perplexity": "perplexity",
    "cerebras": "cerebras",
    "fireworks_ai": "fireworks",
}
# a host of many makers' models, at prices of its own
VERTEX = ("vertex_ai", "vertex_ai-language-models", "vertex_ai-anthropic_models")
BEDROCK = ("bedrock", "bedrock_converse")
AZURE_ZONES = ("eu", "us", "apac", "us-gov")  # where a deployment's requests run, when not anywhere


def chosen(listed: Mapping[str, Facts]) -> dict[str, Facts]:
    """The models by their names in our files; makers first, then hosts. Bedrock's come with their `regional` rows."""
    return dict(_chosen(listed))


def _chosen(listed: Mapping[str, Facts]) -> Iterator[tuple[str, Facts]]:
    for maker in MAKERS:
        own = {name: facts for name, facts in listed.items() if facts["litellm_provider"] == maker and reached(facts)}
        bare = {name.removeprefix(f"{maker}/"): facts for name, facts in own.items()}
        bare |= {name: facts for name, facts in own.items() if "/" not in name}
        yield from sorted(bare.items(), key=lambda item: (item[0].startswith("ft:"), item[0]))
    for host, ours in HOSTS.items():
        for name, facts in listed.items():
            if name.startswith(f"{host}/") and facts["litellm_provider"] == host and _offered(name, facts):
                yield f"{ours}/{name.removeprefix(f'{host}/')}", facts
    for name, facts in listed.items():
        bare_name = name.removeprefix("vertex_ai/")
        # Claude 3 is retired there
        ours_there = bare_name.startswith(("gemini-", "claude-", "xai/")) and not bare_name.startswith("claude-3-")
        if facts["litellm_provider"] in VERTEX and ours_there and reached(facts):
            yield f"vertex/{bare_name}", _at_vertex(bare_name, facts, listed)
    yield from _at_bedrock(listed)
    for name, facts in listed.items():  # the one host whose models also stand there without its name
        if facts["litellm_provider"] == "deepseek" and "/" not in name and f"deepseek/{name}" not in listed:
            yield f"deepseek/{name}", facts


def azure(listed: Mapping[str, Facts]) -> dict[str, Facts]:
    """Azure's deployments by the names that Azure gives to what they deploy, each with the rows of its `zones`.

    Not the router, which costs what the model behind it does and something on top.
    """
    there = {name: facts for name, facts in listed.items() if facts["litellm_provider"] == "azure" and reached(facts)}
    made: dict[str, Facts] = {}
    for name, facts in there.items():
        _, _, model = name.partition("/")
        if "/" not in model and model != "model-router":
            zones = {zone: there[f"azure/{zone}/{model}"] for zone in AZURE_ZONES if f"azure/{zone}/{model}" in there}
            made[name] = {**facts, "zones": zones}
    return made


def _at_vertex(name: str, facts: Facts, listed: Mapping[str, Facts]) -> Facts:
    """`facts`, with what is often left out there for Claude.

    A schema is enforced there only if the organisation's policy was changed (docs.cloud.google.com, structured
    outputs), so a forced tool is the surer way where there is one.
    """
    effort = listed.get(name.partition("@")[0], {}).get("supports_output_config")
    forced = facts.get("supports_forced_tool_use", not facts.get("thinking_always_on"))
    return {"supports_output_config": effort, "supports_native_structured_output": not forced, **facts}


def _at_bedrock(listed: Mapping[str, Facts]) -> Iterator[tuple[str, Facts]]:
    """Bedrock's models by their ids and inference profiles, each with its rows for single regions.

    Converse searches nothing, so the fees of a search are not its.
    """
    plain: dict[str, Facts] = {}
    regional: dict[str, dict[str, Facts]] = {}
    for name, facts in listed.items():
        priced = facts["litellm_provider"] in BEDROCK and facts.get("input_cost_per_token") is not None
        if priced and _offered(name, facts) and "@" not in name:
            *folders, model = name.removeprefix("bedrock/").split("/")
            facts = {key: value for key, value in facts.items() if key != "search_context_cost_per_query"}
            facts["litellm_provider"] = "bedrock"
            if not folders and "." in model:
                plain.setdefault(model, facts)
            elif len(folders) == 1 and re.fullmatch(r"[a-z]+(-[a-z]+)+-\d", folders[0]):
                regional.setdefault(model, {})[folders[0]] = facts
    for model, facts in plain.items():
        yield f"bedrock/{model}", {**facts, "regional": regional.get(model, {})}


def reached(facts: Facts) -> bool:
    """Whether a chat completion can be asked of this model: it answers with text, or Gemini's with images beside it."""
    endpoints, said = facts.get("supported_endpoints"), facts.get("supported_output_modalities")
    draws = facts["mode"] == "image_generation" and endpoints is not None and "output_cost_per_image_token" in facts
    return (
        (facts["mode"] == "chat" or draws)
        and "output_cost_per_token" in facts
        and "max_output_tokens" in facts
        and (endpoints is None or "/v1/chat/completions" in endpoints)
        and (said is None or "text" in said)
    )


def _offered(name: str, facts: Facts) -> bool:
    # that list is full of short names that no request can use, and of models that are hosted no more
    known = not name.startswith("fireworks_ai/") or ("/accounts/" in name and "source" in facts)
    return reached(facts | {"max_output_tokens": 0}) and known
