"""The caller's body, parsed and checked once, before anything is translated or spent.

What is checked is what every dialect relies on: the types of OpenAI's parameters, the shape of messages, and that each
tool result answers a call. Extension parameters pass; each dialect says what becomes of them.
Source: openai 3.52, types/chat/completion_create_params.py.
"""

from collections.abc import Callable
from typing import Any, NoReturn
from urllib.parse import urlsplit

import orjson

from translators import media
from translators.errors import LLMError

Json = dict[str, Any]

MAX_CHOICES = 128  # OpenAI's own bound on n
MAX_TOKENS = 10_000_000  # in one answer: more than any model writes
MAX_MODEL = 512  # characters of a model's name, which is remembered and told; ARNs are the longest, at some 250


def parse(body: bytes) -> Json:
    """The request as a dict. Raises LLMError("invalid_request") that names the first thing that is wrong."""
    try:
        chat = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise LLMError("invalid_request", f"The body is not valid JSON: {error}") from None
    if not isinstance(chat, dict):
        raise LLMError("invalid_request", "The body must be a JSON object")
    model = chat.get("model")
    if not isinstance(model, str) or not model:
        _wrong("model", "a model's name is required", "missing_required_parameter" if "model" not in chat else None)
    if len(model) > MAX_MODEL:
        _wrong("model", f"a model's name has at most {MAX_MODEL} characters")
    for name, value in chat.items():
        if name in _CHECKS and value is not None:
            _CHECKS[name](name, value)
    messages = chat.get("messages")
    if not _is_plain(messages):
        _messages(messages)
    return chat


def _wrong(param: str, why: str, code: str | None = None) -> NoReturn:
    raise LLMError("invalid_request", f"`{param}`: {why}", param=param, code=code or "invalid_value")


def _string(param: str, value: object) -> None:
    if not isinstance(value, str):
        _wrong(param, "must be a string", "invalid_type")


def _boolean(param: str, value: object) -> None:
    if not isinstance(value, bool):
        _wrong(param, "must be true or false", "invalid_type")


def _number(least: float, most: float) -> Callable[[str, object], None]:
    def check(param: str, value: object) -> None:
        if type(value) is float and least <= value <= most:
            return
        if isinstance(value, bool) or not isinstance(value, int | float):
            _wrong(param, "must be a number", "invalid_type")
        if not least <= value <= most:
            _wrong(param, f"must be between {least:g} and {most:g}")

    return check


def _integer(least: int, most: int) -> Callable[[str, object], None]:
    def check(param: str, value: object) -> None:
        if type(value) is int and least <= value <= most:
            return
        if isinstance(value, bool) or not isinstance(value, int):
            _wrong(param, "must be an integer", "invalid_type")
        if not least <= value <= most:
            _wrong(param, f"must be at least {least} and at most {most}")

    return check


def _object(param: str, value: object) -> None:
    if not isinstance(value, dict):
        _wrong(param, "must be an object", "invalid_type")


def _list_of_objects(param: str, value: object) -> None:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        _wrong(param, "must be a list of objects", "invalid_type")


def _strings(param: str, value: object) -> None:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        _wrong(param, "must be a list of strings", "invalid_type")


def _function_call(param: str, value: object) -> None:
    if not isinstance(value, str) and not (isinstance(value, dict) and isinstance(value.get("name"), str)):
        _wrong(param, "must be none, auto or an object with a name", "invalid_type")


def _stop(param: str, value: object) -> None:
    if not isinstance(value, str) and not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
        _wrong(param, "must be a string or a list of strings", "invalid_type")


def _stream_options(param: str, value: object) -> None:
    _object(param, value)
    assert isinstance(value, dict)  # noqa: S101 - for the type checker: _object has seen to it
    for name in ("include_usage", "include_obfuscation"):
        if value.get(name) is not None:
            _boolean(f"{param}.{name}", value[name])


def _tools(param: str, value: object) -> None:
    _list_of_objects(param, value)
    assert isinstance(value, list)  # noqa: S101 - for the type checker
    for at, tool in enumerate(value):
        kind = tool.get("type")
        if not isinstance(kind, str):
            _wrong(f"{param}[{at}].type", "is required", "missing_required_parameter")
        if kind in ("function", "custom"):
            body = tool.get(kind)
            if not isinstance(body, dict) or not isinstance(body.get("name"), str) or not body["name"]:
                _wrong(f"{param}[{at}].{kind}.name", "is required", "missing_required_parameter")
            parameters = body.get("parameters")
            if parameters is not None and not isinstance(parameters, dict):
                _wrong(f"{param}[{at}].{kind}.parameters", "must be a JSON schema object", "invalid_type")


def _functions(param: str, value: object) -> None:
    _list_of_objects(param, value)
    assert isinstance(value, list)  # noqa: S101 - for the type checker
    for at, function in enumerate(value):
        if not isinstance(function.get("name"), str) or not function["name"]:
            _wrong(f"{param}[{at}].name", "is required", "missing_required_parameter")
        parameters = function.get("parameters")
        if parameters is not None and not isinstance(parameters, dict):
            _wrong(f"{param}[{at}].parameters", "must be a JSON schema object", "invalid_type")


def _tool_choice(param: str, value: object) -> None:
    if isinstance(value, str):
        if value not in ("none", "auto", "required"):
            _wrong(param, "must be none, auto, required or an object")
    elif not isinstance(value, dict) or not isinstance(value.get("type"), str):
        _wrong(param, "must be none, auto, required or an object with a type", "invalid_type")
    elif (kind := value["type"]) in ("function", "custom") and not isinstance(
        (value.get(kind) or {}).get("name") if isinstance(value.get(kind), dict) else None, str
    ):
        _wrong(f"{param}.{kind}.name", "is required", "missing_required_parameter")


def _response_format(param: str, value: object) -> None:
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        _wrong(param, "must be an object with a type", "invalid_type")
    if value["type"] == "json_schema":
        schema = value.get("json_schema")
        if not isinstance(schema, dict) or not isinstance(schema.get("name"), str):
            _wrong(f"{param}.json_schema.name", "is required", "missing_required_parameter")
        if schema.get("schema") is not None and not isinstance(schema["schema"], dict):
            _wrong(f"{param}.json_schema.schema", "must be a JSON schema object", "invalid_type")


_CHECKS: dict[str, Callable[[str, object], None]] = {
    "audio": _object,
    "frequency_penalty": _number(-2, 2),
    "function_call": _function_call,
    "functions": _functions,
    "logit_bias": _object,
    "logprobs": _boolean,
    "max_completion_tokens": _integer(1, MAX_TOKENS),
    "max_tokens": _integer(1, MAX_TOKENS),
    "metadata": _object,
    "modalities": _strings,
    "n": _integer(1, MAX_CHOICES),
    "parallel_tool_calls": _boolean,
    "prediction": _object,
    "presence_penalty": _number(-2, 2),
    "prompt_cache_key": _string,
    "prompt_cache_options": _object,
    "prompt_cache_retention": _string,
    "reasoning_effort": _string,
    "response_format": _response_format,
    "safety_identifier": _string,
    "seed": _integer(-(2**63), 2**63 - 1),
    "service_tier": _string,
    "stop": _stop,
    "store": _boolean,
    "stream": _boolean,
    "stream_options": _stream_options,
    "temperature": _number(0, 2),
    "tool_choice": _tool_choice,
    "tools": _tools,
    "top_logprobs": _integer(0, 20),
    "top_p": _number(0, 1),
    "user": _string,
    "verbosity": _string,
    "web_search_options": _object,
}

ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})


_SPEAKERS = ("user", "system", "developer")  # a tuple: what stands for a role may be of any type


def _is_plain(messages: Any) -> bool:
    """Whether `messages` are nothing but text of the user and instructions, as most are: there is nothing to check."""
    try:
        for message in messages:
            if type(message["content"]) is not str or message["role"] not in _SPEAKERS or "tool_calls" in message:
                return False
    except (KeyError, TypeError):
        return False
    return type(messages) is list and bool(messages)


def _messages(messages: object) -> None:
    if messages is None:
        _wrong("messages", "is required", "missing_required_parameter")
    if not isinstance(messages, list):
        _wrong("messages", "must be a list", "invalid_type")
    if not messages:
        _wrong("messages", "must hold at least one message", "empty_array")
    open_calls: set[str] = set()  # calls that a tool message may still answer
    for at, message in enumerate(messages):
        path = f"messages[{at}]"
        if not isinstance(message, dict):
            _wrong(path, "must be an object", "invalid_type")
        role = message.get("role")
        if not isinstance(role, str) or role not in ROLES:
            _wrong(f"{path}.role", f"must be one of {', '.join(sorted(ROLES))}")
        _content(message.get("content"), f"{path}.content", optional=role in ("assistant", "function"))
        calls = message.get("tool_calls")
        if role == "assistant":
            if calls is not None:
                open_calls |= _calls(calls, f"{path}.tool_calls")
            continue
        if calls is not None:
            _list_of_objects(f"{path}.tool_calls", calls)
        if role == "tool":
            call = message.get("tool_call_id")
            if not isinstance(call, str):
                _wrong(f"{path}.tool_call_id", "is required", "missing_required_parameter")
            if call not in open_calls:
                _wrong(f"{path}.tool_call_id", "answers no tool call of an earlier assistant message")


def _content(content: object, path: str, *, optional: bool) -> None:
    if isinstance(content, str):
        return
    if content is None:
        if not optional:
            _wrong(path, "is required", "missing_required_parameter")
        return
    if not isinstance(content, list):
        _wrong(path, "must be a string or a list of parts", "invalid_type")
    for index, part in enumerate(content):
        here = f"{path}[{index}]"
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            _wrong(here, "must be an object with a type", "invalid_type")
        check = _PARTS.get(part["type"])
        if check is not None:
            check(part, here)


def _text_part(part: Json, path: str) -> None:
    if not isinstance(part.get("text"), str):
        _wrong(f"{path}.text", "must be a string", "missing_required_parameter")


def _image_part(part: Json, path: str) -> None:
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else None
    if not isinstance(url, str):
        _wrong(f"{path}.image_url.url", "must be a string", "missing_required_parameter")
    if url.startswith("data:"):
        media.image(url, f"{path}.image_url.url")
    elif not url.startswith(("http://", "https://", "gs://", "s3://")):
        _wrong(f"{path}.image_url.url", "must be an http(s) URL or a data URI", "invalid_image_url")
    else:
        try:
            urlsplit(url)
        except ValueError:
            _wrong(f"{path}.image_url.url", "is no URL", "invalid_image_url")


def _audio_part(part: Json, path: str) -> None:
    audio = part.get("input_audio")
    if (
        not isinstance(audio, dict)
        or not isinstance(audio.get("data"), str)
        or not isinstance(audio.get("format"), str)
    ):
        _wrong(f"{path}.input_audio", "must hold data and format", "missing_required_parameter")
    media.base64_bytes(audio["data"], f"{path}.input_audio.data")


def _file_part(part: Json, path: str) -> None:
    file = part.get("file")
    if not isinstance(file, dict) or not any(isinstance(file.get(name), str) for name in ("file_data", "file_id")):
        _wrong(f"{path}.file", "must hold file_data or file_id", "missing_required_parameter")
    if not isinstance(file.get("filename") or "", str):
        _wrong(f"{path}.file.filename", "must be a string", "invalid_type")


_PARTS: dict[str, Callable[[Json, str], None]] = {
    "text": _text_part,
    "image_url": _image_part,
    "input_audio": _audio_part,
    "file": _file_part,
}


def _calls(calls: object, path: str) -> set[str]:
    if not isinstance(calls, list):
        _wrong(path, "must be a list", "invalid_type")
    ids: set[str] = set()
    for index, call in enumerate(calls):
        here = f"{path}[{index}]"
        if not isinstance(call, dict) or not isinstance(call.get("id"), str) or not call["id"]:
            _wrong(f"{here}.id", "is required", "missing_required_parameter")
        kind = call.get("type", "function")
        body = call.get(kind) if isinstance(kind, str) else None
        if kind not in ("function", "custom") or not isinstance(body, dict) or not isinstance(body.get("name"), str):
            _wrong(here, "must be a function or custom call with a name", "invalid_value")
        payload = "arguments" if kind == "function" else "input"
        if not isinstance(body.get(payload, ""), str):
            _wrong(f"{here}.{kind}.{payload}", "must be a string", "invalid_type")
        ids.add(call["id"])
    return ids
