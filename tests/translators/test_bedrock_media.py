"""Parts as Converse's blocks."""

import base64
from typing import Any

import pytest

from translators import bedrock_media
from translators.errors import LLMError
from translators.exchange import Json, Media
from translators.outcomes import Dropped

GIF = b"GIF89a\x01\x00\x01\x00"
PDF = b"%PDF-1.4"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def block(part: Json, fetched: dict[str, Media] | None = None, desk: bedrock_media.Desk | None = None) -> Any:
    report: list[Dropped] = []
    return (desk or bedrock_media.Desk(fetched or {}, frozenset())).block(part, "messages[0].content[0]", report)


def image(url: str) -> Json:
    return {"type": "image_url", "image_url": {"url": url}}


def file(**told: str) -> Json:
    return {"type": "file", "file": told}


def video(url: str) -> Json:
    return {"type": "video_url", "video_url": {"url": url}}


def test_images_inline_fetched_and_in_s3() -> None:
    inline = {"image": {"format": "gif", "source": {"bytes": b64(GIF)}}}
    assert block(image(f"data:image/png;base64,{b64(GIF)}")) == inline  # by what the bytes show
    assert block(image("https://h/a"), {"https://h/a": Media("image/png", GIF)}) == inline
    s3 = {"image": {"format": "jpeg", "source": {"s3Location": {"uri": "s3://bucket/a.JPG"}}}}
    assert block(image("s3://bucket/a.JPG")) == s3


@pytest.mark.parametrize(
    ("told", "form", "name"),
    [
        (
            {"file_data": f"data:application/pdf;base64,{b64(PDF)}", "filename": "My  report_2026!.pdf"},
            "pdf",
            "My report 2026",
        ),
        ({"file_data": b64(PDF)}, "pdf", "document"),
        (
            {"file_data": f"data:text/csv;base64,{b64(b'a,b')}", "filename": "data (1) [x]-y.csv"},
            "csv",
            "data (1) [x]-y",
        ),
        ({"file_data": f"data:text/markdown;base64,{b64(b'# a')}"}, "md", "document"),
        ({"file_data": f"data:application/json;base64,{b64(b'{}')}", "filename": "é.json"}, "txt", "document"),
        ({"file_data": f"data:application/octet-stream;base64,{b64(b'PK')}", "filename": "a.docx"}, "docx", "a"),
        ({"file_data": b64(b"text")}, "txt", "document"),
    ],
)
def test_a_file_is_a_document_with_a_name_that_converse_takes(told: dict[str, str], form: str, name: str) -> None:
    made = block(file(**told))["document"]
    assert (made["format"], made["name"]) == (form, name)


def test_no_two_documents_have_one_name() -> None:
    desk = bedrock_media.Desk({}, frozenset())
    names = [block(file(file_data=b64(PDF), filename="a.pdf"), desk=desk)["document"]["name"] for _ in range(3)]
    assert names == ["a", "a [2]", "a [3]"]


def test_documents_by_url_and_in_s3_and_files_that_are_no_documents() -> None:
    url = "https://h/x/report.pdf?a=b"
    made = block(file(file_data=url), {url: Media("application/pdf; charset=x", PDF)})
    assert made == {"document": {"format": "pdf", "name": "report", "source": {"bytes": b64(PDF)}}}
    made = block(file(file_id="s3://bucket/a.xlsx"))
    assert made == {
        "document": {"format": "xlsx", "name": "a", "source": {"s3Location": {"uri": "s3://bucket/a.xlsx"}}}
    }
    assert "image" in block(file(file_data=b64(GIF)))
    assert "video" in block(file(file_data=f"data:video/mp4;base64,{b64(b'x')}"))


def test_citations_and_a_context_go_with_a_document_and_what_else_is_said_is_reported() -> None:
    told = {"citations": {"enabled": True}, "context": "A letter"}
    made = block({**file(file_data=b64(PDF)), **told})
    assert made["document"]["citations"] == {"enabled": True} and made["document"]["context"] == "A letter"
    report: list[Dropped] = []
    desk = bedrock_media.Desk({}, frozenset())
    desk.block({**image(f"data:image/png;base64,{b64(GIF)}"), **told, "cache_control": {}}, "p", report)
    desk.block({**file(file_data=b64(PDF)), **told, "priority": 1}, "p", report)
    features = [lost.feature for lost in report]
    assert features == ["part:image_url.citations", "part:image_url.context", "part:file.priority"]


def test_video_and_audio() -> None:
    assert block(video(f"data:video/quicktime;base64,{b64(b'x')}")) == {
        "video": {"format": "mov", "source": {"bytes": b64(b"x")}}
    }
    assert block(video("s3://bucket/a.3gp"))["video"]["format"] == "three_gp"
    assert block(video("https://h/v"), {"https://h/v": Media("video/mp4", b"x")})["video"]["format"] == "mp4"
    assert block({"type": "input_audio", "input_audio": {"format": "wav", "data": b64(b"x")}}) == {
        "audio": {"format": "wav", "source": {"bytes": b64(b"x")}}
    }


@pytest.mark.parametrize(
    "part",
    [
        image("https://h/never-fetched.png"),
        image("s3://bucket/a.tiff"),
        file(file_id="file-123"),
        file(file_data=f"data:application/zip;base64,{b64(b'PK')}"),
        file(file_data=b64(b"\xff\xfe\x00")),
        file(file_data=""),
        file(file_data="s3://bucket/a.zip"),
        video("data:video/ogg;base64,AAAA"),
        video("data:video/mp4;base64,"),
        video("s3://bucket/a"),
        {"type": "video_url", "video_url": {}},
        {"type": "input_audio", "input_audio": {"format": "midi", "data": "AAAA"}},
    ],
)
def test_what_converse_cannot_take_is_refused(part: Json) -> None:
    with pytest.raises(LLMError) as caught:
        block(part)
    assert caught.value.kind == "invalid_request" and caught.value.param


def test_what_must_be_fetched() -> None:
    parts = [
        image("https://h/a"),
        image("data:image/gif;base64,AA=="),
        video("http://h/v"),
        file(file_data="https://h/f"),
    ]
    chat = {"messages": [{"role": "user", "content": [*parts, image("https://h/a")]}]}
    assert bedrock_media.urls(chat) == ("https://h/a", "http://h/v", "https://h/f")


def test_empty_texts_and_parts_left_out_are_nothing() -> None:
    assert block({"type": "text", "text": " "}) is None
    assert block(image("x"), desk=bedrock_media.Desk({}, frozenset({"part:image_url"}))) is None
