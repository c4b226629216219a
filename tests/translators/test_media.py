"""Images and files are what they claim to be, or are refused by name."""

import base64

import pytest

from translators import media
from translators.errors import LLMError

PNG = b"\x89PNG\r\n\x1a\n1234"


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_a_data_uri_keeps_its_text_and_gives_its_bytes() -> None:
    found = media.data_uri(f"data:Application/PDF;name=a.pdf;base64,{encoded(b'%PDF')}", "p")
    assert found == ("application/pdf", encoded(b"%PDF"), b"%PDF")


@pytest.mark.parametrize(
    "uri", ["data:image/png;base64", "data:image/png,plain", "data:image/png;base64,a b", "data:;base64,a"]
)
def test_a_broken_data_uri_names_its_place(uri: str) -> None:
    with pytest.raises(LLMError, match="`here`") as caught:
        media.data_uri(uri, "here")
    assert (caught.value.kind, caught.value.param) == ("invalid_request", "here")


@pytest.mark.parametrize(
    ("data", "mime"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0rest", "image/jpeg"),
        (b"GIF89a.....", "image/gif"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"\x00\x00\x00\x18ftypheic", "image/heic"),
        (b"\x00\x00\x00\x18ftypmp42", None),
        (b"hello", None),
        (b"", None),
    ],
)
def test_the_bytes_say_what_an_image_is(data: bytes, mime: str | None) -> None:
    assert media.image_mime(data) == mime


def test_a_wrong_mime_type_is_corrected_and_no_image_is_refused() -> None:
    assert media.image(f"data:image/jpeg;base64,{encoded(PNG)}", "p").mime == "image/png"
    with pytest.raises(LLMError, match="cannot be decoded as an image"):
        media.image(f"data:image/png;base64,{encoded(b'hello')}", "p")


def test_every_part_comes_with_its_path() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "file"}]
    chat = {"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": parts}]}
    assert list(media.parts(chat)) == [(parts[0], "messages[1].content[0]"), (parts[1], "messages[1].content[1]")]
