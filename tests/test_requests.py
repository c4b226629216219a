"""Every dialect's writing side, over requests made from OpenAI's schema.

The body is valid by the provider's own types; the caller's request is not changed; a longer conversation begins with
the same turns; and every word that a caller said is in the body, or what it stood in was reported or refused.
"""

import copy
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.test_fuzz import altered, check_error
from tests.translators import anthropic_types, gemini_types
from translators import chat_request
from translators.errors import LLMError
from translators.exchange import Endpoint, Media, ModelFacts, UpstreamRequest
from translators.registry import TRANSLATORS

Json = dict[str, Any]

QUICK = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
DIALECTS = pytest.mark.parametrize("dialect", TRANSLATORS)
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # one pixel
FACTS = (
    ModelFacts(max_output_tokens=8192),
    ModelFacts(max_output_tokens=64_000, thinking="adaptive", efforts=("low", "medium", "high"), mid_system=True),
    ModelFacts(max_output_tokens=64_000, thinking="budget", audio=True, video=True),
    ModelFacts(thinking="level", efforts=("low", "high"), thinking_always=True, audio=True, video=True),
    ModelFacts(sampling=False, structured_output=False, prefill=False, forced_tool=False, vision=False, pdf=False),
)
_WORDS = st.integers(0, 2**30).map(lambda number: f"word{number:010d}é{chr(0x2028)}")


def endpoint(facts: ModelFacts, unsupported: Any = "report") -> Endpoint:
    return Endpoint(
        *("p", "http://127.0.0.1:1", "secret-key", "the-model", facts),
        unsupported=unsupported,
        region="us-east-1",
        project="acme",
        location="global",
    )


# ── requests as OpenAI's schema has them ─────────────────────────────────────────────────────────────────────────────


def _maybe(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries({}, optional=fields)


_text: st.SearchStrategy[Json] = st.fixed_dictionaries({"type": st.just("text"), "text": _WORDS})
_image: st.SearchStrategy[Json] = st.fixed_dictionaries(
    {
        "type": st.just("image_url"),
        "image_url": st.fixed_dictionaries(
            {"url": st.sampled_from(["https://example.com/a.png", f"data:image/png;base64,{PNG}"])},
            optional={"detail": st.sampled_from(["auto", "low", "high"])},
        ),
    }
)
_file: st.SearchStrategy[Json] = st.fixed_dictionaries(
    {
        "type": st.just("file"),
        "file": st.fixed_dictionaries(
            {
                "file_data": st.just("data:application/pdf;base64,JVBERi0x"),
                "filename": _WORDS.map(lambda word: word[:14]),
            }
        ),
    }
)
_audio: st.SearchStrategy[Json] = st.just({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}})
_parts = st.lists(st.one_of(_text, _text, _image, _file, _audio), min_size=1, max_size=3)
_user: st.SearchStrategy[Json] = st.fixed_dictionaries(
    {"role": st.just("user"), "content": st.one_of(_WORDS, _parts)}, optional={"name": _WORDS}
)
_told: st.SearchStrategy[Json] = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "developer"]), "content": st.one_of(_WORDS, st.lists(_text, min_size=1))}
)
_NAMES = ("weather", "add numbers", "a.b:c", "größe")
_schema = st.recursive(
    st.one_of(
        st.fixed_dictionaries(
            {"type": st.sampled_from(["string", "integer", "number", "boolean"])}, optional={"description": _WORDS}
        ),
        st.fixed_dictionaries(
            {"enum": st.lists(_WORDS, min_size=1, max_size=3, unique=True), "type": st.just("string")}
        ),
        st.fixed_dictionaries({"type": st.just("string"), "pattern": _WORDS, "minLength": st.integers(0, 9)}),
    ),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"type": st.just("array"), "items": inner}),
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=3)}),
        st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3).map(
            lambda made: {"type": "object", "properties": made, "required": sorted(made), "additionalProperties": False}
        ),
    ),
    max_leaves=5,
)
_object = st.dictionaries(st.sampled_from(["x", "y", "z"]), _schema, max_size=3).map(
    lambda made: {"type": "object", "properties": made, "required": sorted(made), "additionalProperties": False}
)


def _tool(name: str) -> st.SearchStrategy[Json]:
    function = st.fixed_dictionaries(
        {"name": st.just(name), "parameters": _object}, optional={"description": _WORDS, "strict": st.booleans()}
    )
    return st.fixed_dictionaries({"type": st.just("function"), "function": function})


_tools = st.lists(st.sampled_from(_NAMES), min_size=1, max_size=3, unique=True).flatmap(
    lambda names: st.tuples(*map(_tool, names)).map(list)
)


@st.composite
def _exchange(draw: st.DrawFn, at: int) -> list[Json]:
    """One round: the user, perhaps tools called and answered, the assistant."""
    made = [draw(_told)] if draw(st.integers(0, 4)) == 0 else []
    made.append(draw(_user))
    names = draw(st.lists(st.sampled_from(_NAMES), max_size=2))
    if names:
        arguments = [json.dumps({"x": draw(_WORDS)}, ensure_ascii=False) for _ in names]
        calls = [
            {"id": f"call_{at}_{n}", "type": "function", "function": {"name": name, "arguments": arguments[n]}}
            for n, name in enumerate(names)
        ]
        made.append({"role": "assistant", "content": draw(st.none() | _WORDS), "tool_calls": calls})
        made += [{"role": "tool", "tool_call_id": call["id"], "content": draw(_WORDS)} for call in calls]
    made.append({"role": "assistant", "content": draw(_WORDS)})
    return made


@st.composite
def conversations(draw: st.DrawFn) -> list[Json]:
    rounds = [draw(_exchange(at)) for at in range(draw(st.integers(0, 2)))]
    first = [draw(_told)] if draw(st.booleans()) else []
    return [*first, *(message for each in rounds for message in each), draw(_user)]


_FORMAT = st.one_of(
    st.just({"type": "text"}),
    st.just({"type": "json_object"}),
    st.fixed_dictionaries(
        {
            "type": st.just("json_schema"),
            "json_schema": st.fixed_dictionaries(
                {"name": st.just("answer"), "schema": _object},
                optional={"strict": st.booleans(), "description": _WORDS},
            ),
        }
    ),
)
_CHOICE = st.sampled_from(["none", "auto", "required", "named"])


@st.composite
def chats(draw: st.DrawFn) -> Json:
    """A request that OpenAI would take."""
    chat: Json = {"model": "m", "messages": draw(conversations())}
    chat |= draw(
        _maybe(
            temperature=st.floats(0, 2),
            top_p=st.floats(0, 1),
            frequency_penalty=st.floats(-2, 2),
            presence_penalty=st.floats(-2, 2),
            max_completion_tokens=st.integers(1, 9000),
            seed=st.integers(-(2**40), 2**40),
            stop=st.one_of(_WORDS, st.lists(_WORDS, max_size=4)),
            stream=st.booleans(),
            stream_options=st.fixed_dictionaries({"include_usage": st.booleans()}),
            user=_WORDS,
            safety_identifier=_WORDS,
            metadata=st.dictionaries(st.just("k"), _WORDS),
            reasoning_effort=st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh", "max"]),
            verbosity=st.sampled_from(["low", "high"]),
            service_tier=st.sampled_from(["auto", "default", "flex", "priority", "scale"]),
            response_format=_FORMAT,
            logprobs=st.booleans(),
            logit_bias=st.just({"1": 2}),
            prediction=st.fixed_dictionaries({"type": st.just("content"), "content": _WORDS}),
            prompt_cache_key=_WORDS,
            store=st.booleans(),
            web_search_options=st.just({"search_context_size": "low"}),
            parallel_tool_calls=st.booleans(),
        )
    )
    if draw(st.booleans()):
        chat["tools"] = draw(_tools)
        choice = draw(st.none() | _CHOICE)
        named = {"type": "function", "function": {"name": chat["tools"][0]["function"]["name"]}}
        chat |= {} if choice is None else {"tool_choice": named if choice == "named" else choice}
    return chat


# ── what holds of all of them ────────────────────────────────────────────────────────────────────────────────────────

MEDIA = {"https://example.com/a.png": Media("image/png", b"\x89PNG\r\n\x1a\n")}


def translated(dialect: str, chat: Json, facts: ModelFacts, **settings_: Any) -> UpstreamRequest | LLMError:
    try:
        return TRANSLATORS[dialect].request(chat, endpoint(facts, **settings_), MEDIA, {})
    except LLMError as error:
        check_error(error)
        assert error.status == 400
        return error


def assert_valid(dialect: str, body: Json) -> None:
    """By the provider's own types, where this dialect's shape has some."""
    if dialect == "anthropic":
        anthropic_types.assert_valid(body)
    elif dialect == "gemini":
        gemini_types.assert_valid(body)


def strings(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every generated word in `value`, with its path."""
    if isinstance(value, str):
        yield from ((path, word) for word in value.split("\u2028") if "word" in word and '"' not in word)
        yield from ((path, word) for word in value.split('"') if word.startswith("word") and '"' in value)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from strings(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from strings(inner, f"{path}[{at}]")


@DIALECTS
@QUICK
@given(chat=chats(), facts=st.sampled_from(FACTS))
def test_a_body_is_valid_and_the_request_is_left_alone(dialect: str, chat: Json, facts: ModelFacts) -> None:
    before = copy.deepcopy(chat)
    chat_request.parse(orjson.dumps(chat))
    made = translated(dialect, chat, facts)
    assert chat == before
    again = translated(dialect, chat, facts)
    assert isinstance(made, LLMError) or made == again
    if isinstance(made, UpstreamRequest):
        assert_valid(dialect, json.loads(made.body))


@DIALECTS
@QUICK
@given(chat=chats(), facts=st.sampled_from(FACTS))
def test_no_word_disappears_unreported(dialect: str, chat: Json, facts: ModelFacts) -> None:
    made = translated(dialect, chat, facts)
    if isinstance(made, LLMError):
        return
    body = made.body.decode() + json.dumps(json.loads(made.body), ensure_ascii=False)
    reported = " ".join(f"{drop.feature} {drop.why}" for drop in made.dropped)
    for path, word in strings(chat):
        if path.startswith(".tools") and chat.get("tool_choice") == "none":
            continue  # Converse has no word for `none`: tools that may not be called are not sent
        word = word.removesuffix("\u2028").rstrip("\\")
        if word not in body:
            steps = [step.split("[")[0] for step in path.split(".") if step]
            assert any(step in reported for step in (*steps, _part_of(chat, path)) if step), (path, word, made.dropped)


def _part_of(chat: Json, path: str) -> str:
    """`part:…` for a path within a content part."""
    if not path.startswith(".messages[") or "].content[" not in path:
        return ""
    at, index = (int(step.split("]")[0]) for step in path.split("[")[1:3])
    return f"part:{chat['messages'][at]['content'][index]['type']}"


@DIALECTS
@QUICK
@given(chat=chats(), facts=st.sampled_from(FACTS), more=_user)
def test_a_longer_conversation_begins_with_the_same_bytes(
    dialect: str, chat: Json, facts: ModelFacts, more: Json
) -> None:
    """All but the last turn, which the new message may join, stands byte for byte in the longer request."""
    chat = {**chat, "messages": [*chat["messages"], {"role": "user", "content": "Go on."}]}
    longer = {**chat, "messages": [*chat["messages"], {"role": "assistant", "content": "Yes."}, more]}
    made, grown = translated(dialect, chat, facts), translated(dialect, longer, facts)
    if isinstance(made, LLMError) or isinstance(grown, LLMError):
        return
    short, long = json.loads(made.body), json.loads(grown.body)
    for name in ("system", "systemInstruction", "tools", "toolConfig"):
        assert orjson.dumps(short.get(name)) == orjson.dumps(long.get(name))
    turns = "contents" if "contents" in short else "messages"
    kept = short[turns]
    assert orjson.dumps(kept) == orjson.dumps(long[turns][: len(kept)])


@DIALECTS
@settings(QUICK, max_examples=50)
@given(seed=st.integers(0, 2**32), chat=chats(), facts=st.sampled_from(FACTS), refuse=st.booleans())
def test_what_passes_the_first_check_is_translated_or_refused(
    dialect: str, seed: int, chat: Json, facts: ModelFacts, refuse: bool
) -> None:
    """Values of any type anywhere: a 400 at the latest here, and never a fault of the gateway."""
    chance = random.Random(seed)
    for _ in range(8):
        odd = altered(chat | EXTENSIONS if chance.random() < 0.5 else chat, chance)
        try:
            parsed = chat_request.parse(json.dumps(odd).encode())
        except LLMError:
            continue
        where = replace(endpoint(facts, "refuse" if refuse else "report"))
        try:
            for url in TRANSLATORS[dialect].media_urls(parsed, where):
                assert isinstance(url, str)
        except LLMError:
            pass
        translated(dialect, parsed, facts, unsupported="refuse" if refuse else "report")


EXTENSIONS: Json = {
    "messages": [
        {"role": "system", "content": "Be brief.", "cache_control": {"type": "ephemeral"}},
        {
            "role": "user",
            "content": [
                {"type": "video_url", "video_url": {"url": "https://youtu.be/x"}},
                {"type": "text", "text": "a"},
            ],
        },
        {
            "role": "assistant",
            "content": [{"type": "refusal", "refusal": "No."}],
            "refusal": "No.",
            "reasoning_content": "thought",
            "reasoning_details": [
                {
                    "type": "reasoning.text",
                    "format": "anthropic-claude-v1",
                    "text": "t",
                    "signature": "s",
                    "block_index": 0,
                },
                {"type": "reasoning.encrypted", "format": "google-gemini-v1", "data": "AAAA", "id": "c1"},
            ],
            "server_tool_blocks": [
                {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}, "index": 0}
            ],
            "images": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}],
            "annotations": [{"type": "url_citation"}],
            "audio": {"id": "a1"},
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "f", "arguments": "{"},
                    "extra_content": {"google": {"thought_signature": "AAAA"}},
                },
                {"id": "c2", "type": "custom", "custom": {"name": "g", "input": "x"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "r"}]},
        {"role": "tool", "tool_call_id": "c2", "content": "{}"},
        {"role": "assistant", "content": None, "function_call": {"name": "h", "arguments": "{}"}},
        {"role": "function", "name": "h", "content": "done"},
        {"role": "user", "content": [{"type": "file", "file": {"file_id": "files/1", "filename": "a.pdf"}}]},
    ],
    "tools": [
        {
            "type": "custom",
            "custom": {"name": "g", "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "s: x"}}},
        },
        {
            "type": "function",
            "function": {"name": "f", "parameters": {"$defs": {"n": {"$ref": "#/$defs/n"}}, "$ref": "#/$defs/n"}},
        },
        {"type": "google_search", "google_search": {}},
        {"type": "web_search_20250305", "name": "web_search"},
    ],
    "functions": [{"name": "h", "parameters": {"type": "object", "properties": {}}}],
    "function_call": {"name": "h"},
    "tool_choice": {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
    },
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": {"type": "object", "properties": {}}},
    },
    "modalities": ["text", "audio"],
    "audio": {"voice": {"id": "v"}, "format": "wav"},
    "web_search_options": {"user_location": {"type": "approximate", "approximate": {"city": "Rome"}}},
    "prompt_cache_options": {"mode": "implicit", "ttl": "30m"},
    "thinking": {"type": "enabled", "budget_tokens": 2000},
    "thinking_config": {"thinking_budget": 1},
    "extra_body": {"google": {"thinking_config": {"thinking_budget": 1}, "cached_content": "c"}},
    "safety_settings": [{"category": "c", "threshold": "t"}],
    "metadata": {"k": "v"},
    "stream_options": {"include_usage": True},
}
