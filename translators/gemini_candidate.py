"""One candidate of Gemini's answer: its parts in, deltas of OpenAI's message out.

gemini_answer reads whole answers and streams with it, and says what becomes of what; the sources stand there.
"""

import base64
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from translators import completion, recall
from translators.errors import LLMError
from translators.exchange import Context, Json
from translators.gemini_arguments import StreamedArguments
from translators.gemini_turns import FORMAT, SERVER_PARTS
from translators.json_values import told

FINISH = {
    "FINISH_REASON_UNSPECIFIED": "stop",
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "OTHER": "stop",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MALFORMED_FUNCTION_CALL": "stop",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_OTHER": "stop",
    "NO_IMAGE": "stop",
    "IMAGE_RECITATION": "content_filter",
    "UNEXPECTED_TOOL_CALL": "stop",
    "TOO_MANY_TOOL_CALLS": "length",
    "MISSING_THOUGHT_SIGNATURE": "stop",
    "MALFORMED_RESPONSE": "stop",
    "ESCALATION": "content_filter",
    "PUP_LIMITED_DISABLED": "content_filter",
    "CONTINUATION": "length",
    "MODEL_ARMOR": "content_filter",
}
# As numbers where a proxy on the way writes enums so; beyond these the two Google APIs number differently.
_FINISH_NUMBERS = {1: "STOP", 2: "MAX_TOKENS", 3: "SAFETY", 4: "RECITATION", 5: "OTHER"}

# A candidate's fields kept for its end, with their names here.
_KEPT = {
    "groundingMetadata": "grounding_metadata",
    "urlContextMetadata": "url_context_metadata",
    "citationMetadata": "citation_metadata",
    "safetyRatings": "safety_ratings",
    "avgLogprobs": "avg_logprobs",
    "finishMessage": "native_finish_message",
    "continuationToken": "continuation_token",
    "promptFeedback": "prompt_feedback",  # of the whole answer: told with its first candidate
    "modelStatus": "model_status",
}
PLAIN = {"content", "index", "finishReason"}  # what a candidate holds beside those, and mostly alone


class Candidate:
    """One choice: Gemini's parts in, deltas of OpenAI's message out."""

    def __init__(self, index: int, context: Context, call_prefix: str) -> None:
        self.index = index
        self.finish: str | None = None  # Google's word
        self.remember: dict[str, Json] = {}
        self.kept: Json = {}  # Google's fields for the end, by their names there
        self.bytes = 0
        self._context = context
        self._call_prefix = call_prefix
        self._text: list[str] = []
        self._text_signature: str | None = None
        self._calls: list[str] = []  # ids
        self._details = 0  # entries of reasoning_details so far
        self._thinking = False  # the last entry is thought text that may go on
        self._images = 0
        self._blocks = 0
        self._audio_rest: bytes | None = None  # up to 2 bytes, so that the base64 of all chunks joins without padding
        self._open: StreamedArguments | None = None  # of a call whose arguments still come
        self._custom = False  # that call is of a custom tool
        self._starts: Sequence[int] | None = None  # before which piece of text each part stands, where all come at once

    def read(self, candidate: Json) -> Iterator[Json]:
        """The deltas that a chunk's candidate brings."""
        if not candidate.keys() <= PLAIN:
            self._keep(candidate)
        content, starts = candidate.get("content"), list[int]()
        self._starts = starts if self._starts is None else ()
        for part in list_of(content.get("parts") if isinstance(content, dict) else None):
            starts.append(len(self._text))
            if isinstance(part, dict):
                yield from self._part(part)
        reason = candidate.get("finishReason")
        if reason:
            self.finish = _FINISH_NUMBERS.get(reason, str(reason)) if isinstance(reason, int) else str(reason)

    def carry_on(self, text: str) -> None:
        """More text, whose deltas were made already."""
        self._text.append(text)
        self.bytes += len(text.encode())

    def _keep(self, candidate: Json) -> None:
        for field in _KEPT:
            value = candidate.get(field)
            if value not in (None, [], {}):
                merge = isinstance(value, dict) and isinstance(self.kept.get(field), dict)
                self.kept[field] = {**self.kept[field], **value} if merge else value

    def end(self, created: int) -> Iterator[Json]:
        """The deltas that wait for the end: what is still open, then Google's metadata, each once."""
        if self._open is not None:
            yield from self._close_call()
        if self._audio_rest is not None:
            rest = base64.b64encode(self._audio_rest).decode()
            yield {"audio": {"data": rest, "transcript": "", "expires_at": created}}
        text = "".join(self._text)
        if self._text_signature:
            if self._calls:
                self.remember.setdefault(self._calls[0], {})["text_signature"] = self._text_signature
            elif text:
                self.remember[recall.text_key(text)] = {"text_signature": self._text_signature}
        extensions: Json = {_KEPT[field]: value for field, value in self.kept.items()}
        if notes := _annotations(dict_of(self.kept.get("groundingMetadata")), self._text, self._starts or ()):
            extensions["annotations"] = notes
        if extensions:
            yield extensions

    @property
    def finish_reason(self) -> str:
        """OpenAI's word for the end: a call makes it `tool_calls`, save where the answer was cut or filtered."""
        said = FINISH.get(self.finish or "", "stop")
        if not self._calls or said != "stop":
            return said
        return "function_call" if self._context.function_call else "tool_calls"

    def _part(self, part: Json) -> Iterator[Json]:
        signature = part.get("thoughtSignature")
        text = part.get("text")
        if part.get("thought") is True and isinstance(text, str):
            yield from self._thought(text)
        elif isinstance(text, str):
            if text:
                self._text.append(text)
                yield self._counted(text, {"content": text})
            if signature:
                self._text_signature = signature
                yield self._signed(signature)
        elif isinstance(part.get("functionCall"), dict):
            yield from self._call(part["functionCall"], signature)
        elif isinstance(part.get("inlineData"), dict):
            yield self._media(part, signature)
        elif kinds := [key for key in part if key not in ("thought", "thoughtSignature")]:
            yield self._block(part, next((kind for kind in kinds if kind in SERVER_PARTS), kinds[0]))
        elif signature:
            self._text_signature = signature
            yield self._signed(signature)

    def _counted(self, text: str, delta: Json) -> Json:
        self.bytes += len(text.encode(errors="surrogatepass"))
        return delta

    def _thought(self, text: str) -> Iterator[Json]:
        if not text:
            return
        detail: Json = {"type": "reasoning.text", "text": text}
        if not self._thinking:
            detail["format"] = FORMAT  # once an entry: an accumulator joins strings
            self._details += 1
            self._thinking = True
        detail["index"] = self._details - 1
        yield self._counted(text, {"reasoning_content": text, "reasoning_details": [detail]})

    def _signed(self, signature: str, call: str | None = None) -> Json:
        detail: Json = {"type": "reasoning.encrypted", "data": signature, "format": FORMAT, "index": self._details}
        if call is not None:
            detail["id"] = call
        self._details += 1
        self._thinking = False
        return {"reasoning_details": [detail]}

    def _call(self, call: Json, signature: str | None) -> Iterator[Json]:
        """A function call: whole, or its beginning, its arguments one by one, and an empty one as its end."""
        name, pieces = call.get("name"), list_of(call.get("partialArgs"))
        if name:
            if self._open is not None:
                yield from self._close_call()
            if name == self._context.json_tool:
                arguments = told(call.get("args") or {}).decode()
                self._text.append(arguments)
                yield self._counted(arguments, {"content": arguments})
                return
            yield from self._begin(call, str(name), signature)
            if not call.get("willContinue") and not pieces:
                return
            self._open = StreamedArguments(dict_of(call.get("args")))
        if self._open is not None:
            self._open.add(pieces)
            if not call.get("willContinue"):
                yield from self._close_call()

    def _begin(self, call: Json, wire_name: str, signature: str | None) -> Iterator[Json]:
        name = self._context.tool_names.get(wire_name, wire_name)
        index = len(self._calls)
        id = str(call.get("id") or f"{self._call_prefix}{index}")
        self._calls.append(id)
        if signature:
            self.remember[id] = {"signature": signature}
            yield self._signed(signature, id)
        self._custom = name in self._context.custom_tools
        whole = not call.get("willContinue") and not call.get("partialArgs")
        arguments = self._arguments_text(dict_of(call.get("args"))) if whole else ""
        if self._custom:
            made = {"index": index, "id": id, "type": "custom", "custom": {"name": name, "input": arguments}}
            yield self._counted(arguments, {"tool_calls": [made]})
        elif not self._context.function_call:
            yield self._counted(arguments, completion.tool_call_start(index, id, name, arguments))
        elif index == 0:  # the deprecated one has room for one alone
            yield self._counted(arguments, {"function_call": {"name": name, "arguments": arguments}})
        else:
            self._counted(arguments, {})

    def _arguments_text(self, args: Json) -> str:
        if self._custom and isinstance(args.get("input"), str):
            text: str = args["input"]
            return text
        return told(args).decode()

    def _close_call(self) -> Iterator[Json]:
        assert self._open is not None  # noqa: S101 - for the type checker: both callers have looked
        text, index = self._arguments_text(self._open.args), len(self._calls) - 1
        self._open = None
        if self._custom:
            yield self._counted(text, {"tool_calls": [{"index": index, "type": "custom", "custom": {"input": text}}]})
        elif not self._context.function_call:
            yield self._counted(text, completion.tool_call_arguments(index, text))
        elif index == 0:
            yield self._counted(text, {"function_call": {"arguments": text}})
        else:
            self._counted(text, {})

    def _block(self, part: Json, kind: str) -> Json:
        block = {"index": self._blocks, "type": _snake(kind), **part}
        self._blocks += 1
        return {"server_tool_blocks": [block]}

    def _media(self, part: Json, signature: str | None) -> Json:
        blob = part["inlineData"]
        mime, data = str(blob.get("mimeType") or ""), str(blob.get("data") or "")
        if part.get("thought") is True or not mime.startswith(("image/", "audio/")):
            return self._block(part, "inlineData")
        if mime.startswith("image/"):
            image: Json = {"index": self._images, "type": "image_url"}
            image["image_url"] = {"url": f"data:{mime};base64,{data}"}
            if signature:
                image["thought_signature"] = signature
            self._images += 1
            return {"images": [image]}
        first = self._audio_rest is None
        try:
            raw = (self._audio_rest or b"") + base64.b64decode(data)
        except ValueError:
            raise LLMError("bad_upstream", "The provider sent audio that is no base64") from None
        whole = len(raw) - len(raw) % 3
        self._audio_rest = raw[whole:]
        delta = {"data": base64.b64encode(raw[:whole]).decode()}
        spoken = dict_of(part.get("audioTranscription")).get("text")
        if isinstance(spoken, str) and spoken:
            delta["transcript"] = spoken
        return {
            "audio": {"id": f"audio_{self._call_prefix}{self.index}", "mime_type": mime, **delta} if first else delta
        }


def _annotations(grounding: Json, pieces: Sequence[str], starts: Sequence[int]) -> list[Json]:
    """OpenAI's url_citation for each source with a place in the text; Google counts in bytes, OpenAI in characters.

    It counts from the beginning of a part (google-genai 3.4, types.Segment): `starts` tells before which of `pieces`.
    """
    chunks, raw, notes = list_of(grounding.get("groundingChunks")), _raw(pieces), list[Json]()
    for support in list_of(grounding.get("groundingSupports")):
        segment = dict_of(dict_of(support).get("segment"))
        start, end = segment.get("startIndex") or 0, segment.get("endIndex")
        if not isinstance(start, int) or not isinstance(end, int):
            continue
        if isinstance(at := segment.get("partIndex"), int) and 0 < at < len(starts):
            before = len(_raw(pieces[: starts[at]]))
            start, end = start + before, end + before
        place = {"start_index": _characters(raw[:start]), "end_index": _characters(raw[:end])}
        for at in list_of(support.get("groundingChunkIndices")):
            web = dict_of(dict_of(chunks[at]).get("web")) if isinstance(at, int) and 0 <= at < len(chunks) else {}
            if web.get("uri"):
                cited = {**place, "url": web["uri"], "title": web.get("title") or ""}
                notes.append({"index": len(notes), "type": "url_citation", "url_citation": cited})
    return notes


def _raw(pieces: Sequence[str]) -> bytes:
    return "".join(pieces).encode(errors="surrogatepass")


def _characters(raw: bytes) -> int:
    return len(raw.decode(errors="ignore"))


def searches(read: Iterable[Candidate]) -> tuple[int, int]:
    """Google Search queries run, each counted once and empty ones not (ai.google.dev, pricing: billed by query), and
    whether places of Google Maps were looked up."""
    groundings = [dict_of(each.kept.get("groundingMetadata")) for each in read]
    lists = ("webSearchQueries", "imageSearchQueries")
    queries = sum(
        len({query for query in list_of(grounding.get(name)) if isinstance(query, str) and query})
        for grounding in groundings
        for name in lists
    )
    found = [chunk for grounding in groundings for chunk in list_of(grounding.get("groundingChunks"))]
    return queries, int(any(dict_of(chunk).get("maps") for chunk in found))


def logprobs_of(result: Json) -> Json | None:
    """types.LogprobsResult as OpenAI's ChoiceLogprobs; None where there is none."""
    chosen, tops = list_of(result.get("chosenCandidates")), list_of(result.get("topCandidates"))
    if not chosen:
        return None
    content = []
    for at, each in enumerate(chosen):
        others = list_of(dict_of(tops[at]).get("candidates")) if at < len(tops) else []
        content.append({**_logprob(dict_of(each)), "top_logprobs": [_logprob(dict_of(other)) for other in others]})
    return {"content": content, "refusal": None}


def _logprob(token: Json) -> Json:
    text = str(token.get("token") or "")
    return {"token": text, "bytes": list(text.encode(errors="replace")), "logprob": token.get("logProbability") or 0.0}


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def dict_of(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def list_of(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
