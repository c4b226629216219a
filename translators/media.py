"""Images and files within a request: where they are, and whether they are what they claim to be."""

import base64
import binascii
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from translators.errors import LLMError

_FILES = "/v1beta/files/"  # of Google's Files API
_YOUTUBE = frozenset({"youtube.com", "www.youtube.com", "m.youtube.com", "music.youtube.com", "youtu.be"})
_MIME_OF_ENDING = {
    **dict.fromkeys(("jpg", "jpeg"), "image/jpeg"),
    **{ending: f"image/{ending}" for ending in ("png", "webp", "gif", "heic", "heif")},
    **{ending: f"audio/{ending}" for ending in ("wav", "mp3", "aac", "flac", "ogg", "aiff")},
    **{ending: f"video/{ending}" for ending in ("mp4", "mpeg", "webm", "wmv", "3gpp")},
    "mov": "video/quicktime",
    "pdf": "application/pdf",
    "json": "application/json",
    **dict.fromkeys(("txt", "md", "log", "yaml", "yml", "py", "js", "ts", "sql", "toml"), "text/plain"),
    **{ending: f"text/{ending}" for ending in ("html", "csv", "xml", "css", "rtf")},
}


class DataURI(NamedTuple):
    """A decoded `data:` URI: `encoded` is its base64 text as it stood, so that it need not be encoded again."""

    mime: str
    encoded: str
    data: bytes


def data_uri(uri: str, param: str) -> DataURI:
    """The parts of a base64 `data:` URI. Raises LLMError("invalid_request") that names `param`."""
    head, comma, encoded = uri.partition(",")
    mime, *options = head.removeprefix("data:").split(";")
    if not comma or "base64" not in options:
        raise LLMError("invalid_request", f"`{param}` is not a base64 data URI", param=param)
    return DataURI(mime.lower() or "text/plain", encoded, base64_bytes(encoded, param))


def mime_of(name: str) -> str | None:
    """The type that the ending of a file's name or address tells, or None."""
    return _MIME_OF_ENDING.get(name.rpartition(".")[2].lower())


def told_mime(url: str) -> str | None:
    """The type that an address tells by itself: a `data:` URI's own, YouTube's videos, or that of its ending."""
    if url.startswith("data:"):
        return url[5:].partition(",")[0].partition(";")[0].lower() or "text/plain"
    return "video/mp4" if is_at_youtube(url) else mime_of(url)


def is_at_youtube(url: str) -> bool:
    """Whether it is an address of YouTube's."""
    try:
        return urlsplit(url).hostname in _YOUTUBE
    except ValueError:  # no address at all
        return False


def is_image(url: str) -> bool:
    """Whether what stands there is surely an image: Gemini takes a video, sound or a document in an image's place.

    What else is on the web is one to whoever reads it: others take nothing else, and for Gemini it is fetched here.
    """
    if url.startswith(("http://", "https://")) and not is_at_youtube(url) and _FILES not in url:
        return True
    return (told_mime(url) or "").startswith("image/")


def base64_bytes(encoded: str, param: str) -> bytes:
    """The bytes that `encoded` stands for. Raises LLMError("invalid_request") that names `param`."""
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise LLMError("invalid_request", f"`{param}` holds no valid base64", param=param) from None


def image_mime(data: bytes) -> str | None:
    """The image type that the bytes themselves show, or None."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:8] == b"ftyp":
        return {b"heic": "image/heic", b"heix": "image/heic", b"mif1": "image/heif", b"avif": "image/avif"}.get(
            data[8:12]
        )
    return None


def image(uri: str, param: str) -> DataURI:
    """An image's data URI, its type taken from the bytes. Raises LLMError when they are no image we know."""
    found = data_uri(uri, param)
    mime = image_mime(found.data)
    if mime is None:
        raise LLMError("invalid_request", f"`{param}` cannot be decoded as an image", param=param, code="invalid_image")
    return found._replace(mime=mime)


def parts(chat: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Every content part of every message, with its path."""
    for at, message in enumerate(chat["messages"]):
        content = message.get("content")
        if isinstance(content, list):
            for index, part in enumerate(content):
                yield part, f"messages[{at}].content[{index}]"
