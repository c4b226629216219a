"""A message's parts as Converse's blocks: text, images, documents, video and audio, inline or in S3.

Source: botocore 1.44, bedrock-runtime 2023-09-30, ImageBlock, DocumentBlock (whose documentation has the rules for a
document's name), VideoBlock, AudioBlock.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain, count
from typing import Any

from translators import media as media_types
from translators.errors import LLMError
from translators.exchange import Media
from translators.outcomes import Dropped, unknown

Json = dict[str, Any]

_FIELDS = ("cache_control", "citations", "context")  # the latter two of a DocumentBlock
_IMAGES = {"image/png": "png", "image/jpeg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
_DOCUMENTS = {
    "application/pdf": "pdf",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/csv": "csv",
    "text/html": "html",
    "text/markdown": "md",
    "text/x-markdown": "md",
}
_ENDINGS = frozenset({"pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"})  # DocumentFormat
_TEXTS = frozenset({"application/json", "application/xml", "application/yaml", "application/javascript"})
_VIDEOS = {
    "video/mp4": "mp4",
    "video/webm": "webm",
    "video/quicktime": "mov",
    "video/x-matroska": "mkv",
    "video/x-flv": "flv",
    "video/mpeg": "mpeg",
    "video/x-ms-wmv": "wmv",
    "video/3gpp": "three_gp",
}
_VIDEO_ENDINGS = frozenset({*_VIDEOS.values(), "mpg"}) - {"three_gp"}  # VideoFormat
_AUDIOS = frozenset(
    {"mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "mka", "x-aac", "m4a", "mpeg", "mpga", "pcm", "webm"}
)
_NO_NAME = re.compile(r"[^a-zA-Z0-9\s\-()\[\]]+")
_SPACES = re.compile(r"\s+")
_LONGEST_NAME = 200


@dataclass(slots=True)
class Desk:
    """Where the parts of one conversation are turned into blocks; it knows which documents' names are taken."""

    fetched: Mapping[str, Media]
    without: frozenset[str]  # features that are left out (`part:image_url`)
    _names: set[str] = field(default_factory=set)

    def block(self, part: Json, path: str, report: list[Dropped]) -> Json | None:
        """The part's block, or None where nothing of it is to be sent. Raises LLMError("invalid_request")."""
        kind = part["type"]
        if f"part:{kind}" in self.without:
            return None
        made = self._block(part, path, report)
        if made is not None:
            fields = _FIELDS if "document" in made else _FIELDS[:1]
            report += unknown(part, ("type", kind, *fields), f"part:{kind}", "Converse's blocks have no such field")
        return made

    def _block(self, part: Json, path: str, report: list[Dropped]) -> Json | None:
        match part["type"]:
            case "text" | "refusal" as kind:
                text = part.get(kind)
                return {"text": text} if isinstance(text, str) and text.strip() else None
            case "image_url":
                if part["image_url"].get("detail") not in (None, "auto"):
                    report.append(Dropped("image_url.detail", "Converse has no such control"))
                return self._image(part["image_url"]["url"], f"{path}.image_url.url")
            case "file":
                made = self._file(part["file"], path)
                if "document" in made and isinstance(asked := part.get("citations"), dict):
                    made["document"]["citations"] = {"enabled": asked.get("enabled") is True}
                if "document" in made and isinstance(told := part.get("context"), str) and told:
                    made["document"]["context"] = told
                return made
            case "video_url":
                return self._video(_url(part, "video_url", path), f"{path}.video_url.url")
            case "input_audio":
                return _audio(part["input_audio"], path)
        return None

    def _image(self, uri: str, path: str) -> Json:
        if uri.startswith("s3://"):
            form = {"jpg": "jpeg"}.get(_ending(uri), _ending(uri))
            if form not in _IMAGES.values():
                raise _wrong(path, "the name must end in .png, .jpeg, .gif or .webp")
            return {"image": {"format": form, "source": {"s3Location": {"uri": uri}}}}
        if uri.startswith("data:"):
            found = media_types.image(uri, path)
            return _inline("image", _IMAGES.get(found.mime), found.mime, found.encoded, path)
        got = self._got(uri, path)
        mime = media_types.image_mime(got.data) or got.mime
        return _inline("image", _IMAGES.get(mime), mime, base64.b64encode(got.data).decode(), path)

    def _got(self, uri: str, path: str) -> Media:
        got = self.fetched.get(uri)
        if got is None:
            raise _wrong(path, "it must be a data URI, an http(s) URL or an s3:// address")
        return got

    def _video(self, uri: str, path: str) -> Json:
        if uri.startswith("s3://"):
            form = {"3gp": "three_gp"}.get(_ending(uri), _ending(uri))
            if form not in (*_VIDEO_ENDINGS, "three_gp"):
                raise _wrong(path, "the name must say what it is, such as .mp4")
            return {"video": {"format": form, "source": {"s3Location": {"uri": uri}}}}
        if uri.startswith("data:"):
            found = media_types.data_uri(uri, path)
            return _inline("video", _VIDEOS.get(found.mime), found.mime, found.encoded, path)
        got = self._got(uri, path)
        mime = got.mime.partition(";")[0].strip()
        return _inline("video", _VIDEOS.get(mime), mime, base64.b64encode(got.data).decode(), path)

    def _file(self, file: Json, path: str) -> Json:
        data, filename = file.get("file_data"), file.get("filename")
        named = filename if isinstance(filename, str) else ""
        if not isinstance(data, str):
            data = file["file_id"]
            if not data.startswith("s3://"):
                raise _wrong(f"{path}.file.file_id", "Bedrock keeps no files by id; an s3:// address will do")
        path = f"{path}.file.file_data"
        if data.startswith("s3://"):
            form = _ending(data)
            if form not in _ENDINGS:
                raise _wrong(path, f"the name must end in one of {', '.join(sorted(_ENDINGS))}")
            return self._document(form, {"s3Location": {"uri": data}}, named or data.rpartition("/")[2])
        if data.startswith(("http://", "https://")):
            got = self._got(data, path)
            mime, raw = got.mime.partition(";")[0].strip(), got.data
            encoded = base64.b64encode(raw).decode()
            named = named or data.partition("?")[0].rpartition("/")[2]
        elif data.startswith("data:"):
            mime, encoded, raw = media_types.data_uri(data, path)
        else:  # OpenAI's reference says base64, and its guide a data URI
            raw, encoded, mime = media_types.base64_bytes(data, path), data, ""
        if picture := _IMAGES.get(media_types.image_mime(raw) or ""):
            return {"image": {"format": picture, "source": {"bytes": encoded}}}
        if mime in _VIDEOS:
            return {"video": {"format": _VIDEOS[mime], "source": {"bytes": encoded}}}
        return self._document(_document_format(mime, raw, named, path), {"bytes": encoded}, named)

    def _document(self, form: str, source: Json, filename: str) -> Json:
        return {"document": {"format": form, "name": self._name(filename), "source": source}}

    def _name(self, filename: str) -> str:
        """A name by Converse's rules that no other document of the conversation has; the ending is its format."""
        stem = filename.rpartition(".")[0] or filename
        name = _SPACES.sub(" ", _NO_NAME.sub(" ", stem)).strip()[: _LONGEST_NAME - 8].strip() or "document"
        free = next(each for each in chain([name], (f"{name} [{at}]" for at in count(2))) if each not in self._names)
        self._names.add(free)
        return free


def urls(chat: Json) -> tuple[str, ...]:
    """What must be fetched: Bedrock takes bytes or S3 addresses, and no URLs."""
    found: list[str] = []
    for part, path in media_types.parts(chat):
        match part["type"]:
            case "image_url":
                found.append(part["image_url"]["url"])
            case "video_url":
                found.append(_url(part, "video_url", path))
            case "file" if isinstance(part["file"].get("file_data"), str):
                found.append(part["file"]["file_data"])
    return tuple(dict.fromkeys(url for url in found if url.startswith(("http://", "https://"))))


def _url(part: Json, name: str, path: str) -> str:
    holder = part.get(name)
    url = holder.get("url") if isinstance(holder, dict) else None
    if not isinstance(url, str):
        raise LLMError("invalid_request", f"`{path}.{name}.url` must be a string", param=path)
    return url


def _audio(audio: Json, path: str) -> Json:
    return _inline(
        "audio", audio["format"] if audio["format"] in _AUDIOS else None, audio["format"], audio["data"], path
    )


def _inline(kind: str, form: str | None, mime: str, encoded: str, path: str) -> Json:
    if form is None:
        raise _wrong(path, f"Converse does not take {mime or 'this'} as {kind}")
    if not encoded:
        raise _wrong(path, "it is empty")
    return {kind: {"format": form, "source": {"bytes": encoded}}}


def _document_format(mime: str, raw: bytes, filename: str, path: str) -> str:
    if not raw:
        raise _wrong(path, "the file is empty")
    if mime in _DOCUMENTS:
        return _DOCUMENTS[mime]
    if raw.startswith(b"%PDF"):
        return "pdf"
    if (ending := _ending(filename)) in _ENDINGS:
        return ending
    if mime and not mime.startswith("text/") and mime not in _TEXTS:
        raise _wrong(path, f"Converse does not take files of type {mime}")
    try:
        raw.decode()
    except UnicodeDecodeError:
        raise _wrong(path, "the file is of no type that Converse takes, and no UTF-8 text") from None
    return "txt"


def _ending(name: str) -> str:
    return name.rpartition(".")[2].lower()


def _wrong(path: str, why: str) -> LLMError:
    return LLMError("invalid_request", f"`{path}`: {why}", param=path)
