"""Images and files within a request: where they are, and whether they are what they claim to be."""

import base64
import binascii
from collections.abc import Iterator
from typing import Any, NamedTuple

from translators.errors import LLMError


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
