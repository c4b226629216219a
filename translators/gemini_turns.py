"""OpenAI's messages as Gemini's contents: two roles that alternate, parts with their thought signatures.

- Leading system and developer messages become `systemInstruction`; a later one stays in its place as user text between
  `<system>` and `</system>`.
- A thought signature goes back on the part it came on: from the message's `reasoning_details`, from Google's own
  `tool_calls[].extra_content.google.thought_signature`, or from what was remembered.
- A tool result that is a JSON object goes as it is, anything else as `{"output": text}`
  (google-genai 3.4, types.FunctionResponse.response).
"""

import base64
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, NamedTuple

import orjson

from translators import media as media_types
from translators import recall
from translators.errors import LLMError
from translators.exchange import Endpoint, Json, Media
from translators.json_values import exactly
from translators.outcomes import Dropped, unknown

FORMAT = "google-gemini-v1"  # OpenRouter's word for these signatures in `reasoning_details`
# For a history that another model wrote: Gemini 3 answers 400 to a first function call without any signature
# (ai.google.dev/gemini-api/docs/thought-signatures, FAQ). base64 of "skip_thought_signature_validator", the field being
# bytes; sent so, with status 200, in the recorded exchange ee422ecb3ee5.
NO_SIGNATURE = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="
SERVER_PARTS = ("executableCode", "codeExecutionResult", "toolCall", "toolResponse")


class Turns(NamedTuple):
    """`system` are parts; `contents` are Gemini's turns, roles alternating."""

    system: list[Json]
    contents: list[Json]
    dropped: list[Dropped]


class _Desk(NamedTuple):
    """What a message is translated with."""

    endpoint: Endpoint
    media: Mapping[str, Media]
    remembered: Mapping[str, Any]
    names: Mapping[str, str]
    gone: Set[str]
    dropped: list[Dropped]


def turns(
    chat: Json,
    endpoint: Endpoint,
    media: Mapping[str, Media],
    remembered: Mapping[str, Any],
    names: Mapping[str, str],
    gone: Set[str],
) -> Turns:
    """The messages of `chat`. `names` as of gemini_tools.wire_names; `gone`, features left out by their outcome.

    Raises LLMError("invalid_request") that names the part Gemini has no word for.
    """
    desk = _Desk(endpoint, media, remembered, names, gone, [])
    messages = chat["messages"]
    leading = next((at for at, each in enumerate(messages) if each["role"] not in _SYSTEM), len(messages))
    system = [part for at in range(leading) for part in _system_parts(messages[at], at, desk)]
    contents: list[Json] = []
    if leading == len(messages) and system:  # instructions alone: someone has to speak first
        return Turns([], [{"role": "user", "parts": system}], desk.dropped)
    called: dict[str, tuple[int, str]] = {}  # id of a call → its place in the order of calls, its name
    at = leading
    while at < len(messages):
        message, role = messages[at], messages[at]["role"]
        if role in _RESULTS:
            end = next((i for i in range(at, len(messages)) if messages[i]["role"] not in _RESULTS), len(messages))
            _add(contents, "user", _results(messages[at:end], at, called, desk))
            at = end
            continue
        if role == "assistant":
            _add(contents, "model", _assistant_parts(message, at, desk))
            for call in message.get("tool_calls") or ():
                called[call["id"]] = len(called), _called_name(call)
        elif role == "user":
            _add(contents, "user", _parts(message, at, desk))
        else:
            text = "".join(part["text"] for part in _system_parts(message, at, desk))
            _add(contents, "user", [{"text": f"<system>\n{text}\n</system>"}] if text else [])
        at += 1
    if not contents:
        raise LLMError("invalid_request", "`messages`: nothing in them can be sent to this model", param="messages")
    _prefill(messages[-1], desk)
    return Turns(system, contents, list(dict.fromkeys(desk.dropped)))


_SYSTEM = ("system", "developer")
_RESULTS = ("tool", "function")
_FIELDS = {
    "user": {"role", "content"},
    "system": {"role", "content"},
    "developer": {"role", "content"},
    "tool": {"role", "content", "tool_call_id"},
    "function": {"role", "content", "name"},
    "assistant": {
        *("role", "content", "refusal", "tool_calls", "function_call", "audio", "images", "reasoning_details"),
        *("reasoning_content", "server_tool_blocks"),
    },
}


def _add(contents: list[Json], role: str, parts: list[Json]) -> None:
    if not parts:
        return
    if contents and contents[-1]["role"] == role:
        contents[-1]["parts"] += parts
    else:
        contents.append({"role": role, "parts": parts})


def _prefill(last: Json, desk: _Desk) -> None:
    if last["role"] != "assistant" or desk.endpoint.facts.prefill or last.get("tool_calls"):
        return
    why = "this model cannot continue an assistant message"
    if desk.endpoint.unsupported == "refuse":
        raise LLMError("invalid_request", f"`messages`: {why}", param="messages")
    desk.dropped.append(Dropped("prefill", why))


def _report_unknown(message: Json, desk: _Desk) -> None:
    desk.dropped.extend(unknown(message, _FIELDS[message["role"]], "messages[]", "Gemini's turns have no such field"))


def _system_parts(message: Json, at: int, desk: _Desk) -> list[Json]:
    parts = _parts(message, at, desk)
    if any("text" not in part for part in parts):
        raise LLMError("invalid_request", "instructions must be text", param=f"messages[{at}].content")
    return parts


def _parts(message: Json, at: int, desk: _Desk) -> list[Json]:
    """The parts of a message's content, save those left out by their outcome."""
    _report_unknown(message, desk)
    content = message.get("content")
    if not isinstance(content, list):
        return [{"text": content}] if content else []  # Google refuses an "empty text parameter"
    made = []
    for index, part in enumerate(content):
        kind = part["type"]
        if f"part:{kind}" in desk.gone or (kind == "text" and not part["text"]):
            continue
        desk.dropped.extend(unknown(part, ("type", kind), f"part:{kind}", "Gemini's parts have no such field"))
        made.append(_part(part, f"messages[{at}].content[{index}]", desk))
    return made


def _part(part: Json, path: str, desk: _Desk) -> Json:
    match part["type"]:
        case "text":
            return {"text": part["text"]}
        case "refusal":
            return {"text": str(part.get("refusal") or "")}
        case "image_url":
            image = part.get("image_url")
            if not isinstance(image, dict) or not isinstance(image.get("url"), str):
                raise LLMError("invalid_request", f"`{path}.image_url.url` must be a string", param=path)
            if image.get("detail") not in (None, "auto"):
                desk.dropped.append(Dropped("part:image_url.detail", "the model chooses its resolution"))
            return _by_uri(image["url"], f"{path}.image_url.url", desk)
        case "video_url":
            video = part.get("video_url")
            uri = video.get("url") if isinstance(video, dict) else video
            if not isinstance(uri, str):
                raise LLMError("invalid_request", f"`{path}.video_url.url` must be a string", param=path)
            return _by_uri(uri, f"{path}.video_url.url", desk)
        case "input_audio":
            audio = part["input_audio"]
            return {"inlineData": {"mimeType": f"audio/{audio['format']}", "data": audio["data"]}}
        case "file":
            return _file(part["file"], f"{path}.file", desk)
        case kind:
            raise LLMError("invalid_request", f"`{path}`: there is no part {kind!r}", param=path)


def fetched_urls(chat: Json, endpoint: Endpoint) -> Iterator[str]:
    """The web addresses in `chat` whose bytes Gemini must be given."""
    for part, _ in media_types.parts(chat):
        uri: Any = None
        if part["type"] == "image_url" and endpoint.facts.vision:
            uri = part["image_url"]["url"]
        elif part["type"] == "video_url" and endpoint.facts.video:
            video = part.get("video_url")
            uri = video.get("url") if isinstance(video, dict) else video
        elif part["type"] == "file":
            uri = part["file"].get("file_data")
        if isinstance(uri, str) and uri.startswith(("http://", "https://")) and not _at_google(uri, endpoint):
            yield uri


def _at_google(uri: str, endpoint: Endpoint) -> bool:
    """Whether Gemini reads this address itself: the Files API, Cloud Storage, YouTube."""
    files = (f"{endpoint.base_url}/v1beta/files/", "https://generativelanguage.googleapis.com/v1beta/files/", "gs://")
    return uri.startswith(files) or media_types.is_at_youtube(uri)


def _by_uri(uri: str, path: str, desk: _Desk) -> Json:
    if uri.startswith("data:"):
        image = uri.startswith("data:image/")
        found = media_types.image(uri, path) if image else media_types.data_uri(uri, path)
        return {"inlineData": {"mimeType": found.mime, "data": found.encoded}}
    if _at_google(uri, desk.endpoint):
        mime = media_types.told_mime(uri)
        return {"fileData": {"fileUri": uri, **({"mimeType": mime} if mime else {})}}
    fetched = desk.media.get(uri)
    if fetched is None:
        raise LLMError("invalid_request", f"`{path}` could not be fetched", param=path, code="invalid_image_url")
    mime = media_types.image_mime(fetched.data) or fetched.mime.partition(";")[0].strip()
    return {"inlineData": {"mimeType": mime, "data": base64.b64encode(fetched.data).decode()}}


def _file(file: Json, path: str, desk: _Desk) -> Json:
    """A file: its own bytes, or the URI (or name, `files/…`) that Google's Files API gave it."""
    name, mime = file.get("filename") or "", media_types.mime_of(file.get("filename") or "")
    if name:
        desk.dropped.append(Dropped("part:file.filename", "Gemini takes no file names; the ending tells the type"))
    data, uri = file.get("file_data"), file.get("file_id")
    if not isinstance(data, str):
        uri = f"{desk.endpoint.base_url}/v1beta/{uri}" if str(uri).startswith("files/") else str(uri)
        if not _at_google(uri, desk.endpoint):
            raise LLMError("invalid_request", f"`{path}.file_id` must be a Google Files API or gs:// URI", param=path)
        return {"fileData": {"fileUri": uri, **({"mimeType": mime} if mime else {})}}
    if data.startswith(("http://", "https://", "gs://")):
        made = _by_uri(data, f"{path}.file_data", desk)
    elif data.startswith("data:"):
        found = media_types.data_uri(data, f"{path}.file_data")
        sure = found.mime if found.mime != "application/octet-stream" else mime
        made = {"inlineData": {"mimeType": sure or found.mime, "data": found.encoded}}
    else:
        raw = media_types.base64_bytes(data, f"{path}.file_data")
        guess = mime or ("application/pdf" if raw.startswith(b"%PDF") else "text/plain")
        made = {"inlineData": {"mimeType": guess, "data": data}}
    if (made.get("inlineData") or {}).get("mimeType") == "application/pdf" and not desk.endpoint.facts.pdf:
        raise LLMError("invalid_request", f"`{path}`: this model reads no PDF ({name})", param=path)
    return made


def _assistant_parts(message: Json, at: int, desk: _Desk) -> list[Json]:
    """What the model said before, each signature on its own part."""
    calls = message.get("tool_calls") or ()
    of_call, of_text = _signatures(message, calls, desk)
    made = [part for block in _objects(message.get("server_tool_blocks")) if (part := _server_part(block, desk))]
    text = [part for part in _parts(message, at, desk) if part.get("text") != ""]  # of a refusal
    if message.get("refusal"):
        text.append({"text": str(message["refusal"])})
    if of_text and text:
        text[-1]["thoughtSignature"] = of_text
    made += text
    for image in _objects(message.get("images")):
        part = _part({**image, "type": "image_url"}, f"messages[{at}].images", desk)
        made.append(part | ({"thoughtSignature": sign} if (sign := image.get("thought_signature")) else {}))
    for call in calls:
        part = {"functionCall": {"id": call["id"], "name": desk.names[_called_name(call)], "args": _arguments(call)}}
        made.append(part | ({"thoughtSignature": of_call[call["id"]]} if call["id"] in of_call else {}))
    if old := message.get("function_call"):
        args = _arguments({"type": "function", "function": old})
        made.append({"functionCall": {"name": desk.names[old["name"]], "args": args}})
    called = [part for part in made if "functionCall" in part]
    if called and desk.endpoint.facts.thinking == "level" and not any("thoughtSignature" in part for part in called):
        called[0]["thoughtSignature"] = NO_SIGNATURE
    return made


def _server_part(block: Json, desk: _Desk) -> Json | None:
    part = {key: value for key, value in block.items() if key not in ("index", "type")}
    if any(key in part for key in SERVER_PARTS):
        return part
    desk.dropped.append(Dropped("messages[].server_tool_blocks", "no part that Gemini takes back"))
    return None


def _signatures(message: Json, calls: Sequence[Json], desk: _Desk) -> tuple[dict[str, str], str | None]:
    """The thought signatures of a message: by tool-call id, and the one of its text."""
    ids = [call["id"] for call in calls]
    of_call: dict[str, str] = {}
    of_text: str | None = None
    details = _objects(message.get("reasoning_details"))
    for detail in details:
        if detail.get("format") not in (FORMAT, None):
            desk.dropped.append(Dropped("messages[].reasoning_details", "another provider's reasoning"))
        elif detail.get("type") == "reasoning.encrypted" and isinstance(detail.get("data"), str):
            if detail.get("id") in ids:
                of_call[detail["id"]] = detail["data"]
            elif ids and not recall.text_of(message.get("content")):
                of_call.setdefault(ids[0], detail["data"])
            else:
                of_text = detail["data"]
    if not details and message.get("reasoning_content"):
        desk.dropped.append(Dropped("messages[].reasoning_content", "thought summaries are no input; signatures are"))
    for call in calls:
        google = _dict(_dict(call.get("extra_content")).get("google"))
        known = _dict(desk.remembered.get(call["id"]))
        if sign := google.get("thought_signature") or known.get("signature"):
            of_call.setdefault(call["id"], sign)
        of_text = of_text or known.get("text_signature")
    if not calls and of_text is None:
        known = _dict(desk.remembered.get(recall.text_key(recall.text_of(message.get("content")))))
        of_text = known.get("text_signature")
    return of_call, of_text


def _called_name(call: Json) -> str:
    name: str = call[call.get("type") or "function"]["name"]
    return name


def _arguments(call: Json) -> Json:
    """A call's arguments as the object Gemini wants; text that is none goes as `{"arguments": text}`."""
    if (call.get("type") or "function") == "custom":
        return {"input": call["custom"].get("input") or ""}
    text = str(call["function"].get("arguments") or "{}")
    parsed = _object(text)
    return parsed if parsed is not None else {"arguments": text}


def _dict(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[Json]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _object(text: str) -> Json | None:
    try:
        parsed = exactly(text)
    except orjson.JSONDecodeError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _results(run: Sequence[Json], start: int, called: Mapping[str, tuple[int, str]], desk: _Desk) -> list[Json]:
    """A run of tool results: in the order of their calls, then what media they hold that cannot go within."""
    placed: list[tuple[int, Json]] = []
    beside: list[Json] = []
    for offset, message in enumerate(run):
        made = _parts(message, start + offset, desk)
        text = "".join(part["text"] for part in made if "text" in part)
        pictures = [part for part in made if "text" not in part]
        inline = [part for part in pictures if "inlineData" in part]
        if message["role"] == "tool":
            order, name = called[message["tool_call_id"]]
            response: Json = {"id": message["tool_call_id"], "name": desk.names[name]}
        else:
            order, response = len(called), {"name": desk.names[message["name"]]}
        parsed = _object(text)
        response["response"] = parsed if parsed is not None else {"output": text}
        if inline and desk.endpoint.facts.thinking == "level":  # bytes within a result: Gemini 3 and later
            response["parts"] = inline
            pictures = [part for part in pictures if part not in inline]
        beside += pictures
        placed.append((order, {"functionResponse": response}))
    return [part for _, part in sorted(placed, key=lambda pair: pair[0])] + beside
