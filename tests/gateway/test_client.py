"""What goes out to the caller, and what is read from it."""

import asyncio
import json
from typing import Any

import pytest

from gateway.client import Client, feature_list, read_body
from gateway.hang_up import HungUp
from tests.gateway.test_hang_up import receiving
from translators.errors import LLMError


def written(act: Any) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(act(Client(send, "the-id")))
    return sent


def test_an_error_before_anything_went_out_has_a_status_and_the_one_shape() -> None:
    error = LLMError("rate_limit", "slow down", retry_after_s=2.4, headers={"x-upstream-request-id": "r"})
    start, body = written(lambda client: client.error(error))
    headers = dict(start["headers"])
    assert start["status"] == 429
    assert (headers[b"retry-after"], headers[b"x-upstream-request-id"], headers[b"x-request-id"]) == (
        b"3",
        b"r",
        b"the-id",
    )
    assert json.loads(body["body"])["error"] == {
        "message": "slow down",
        "type": "rate_limit_error",
        "param": None,
        "code": "rate_limit_exceeded",
    }


def test_an_error_while_a_stream_could_not_begin_yet_has_a_status_too() -> None:
    sent: list[dict[str, Any]] = []

    async def fail() -> None:
        async def send(message: Any) -> None:
            await reads.wait()  # what was answered before on this connection
            sent.append(message)

        reads, client = asyncio.Event(), Client(send, "the-id")
        beginning = asyncio.ensure_future(client.start(200, {}))
        await asyncio.sleep(0)
        beginning.cancel()
        reads.set()
        await client.error(LLMError("timeout", "too late"))

    asyncio.run(fail())
    assert [message.get("status") for message in sent] == [504, None]


def test_an_error_in_a_stream_is_an_event_and_no_done() -> None:
    async def fail(client: Client) -> None:
        await client.start(200, {})
        client.write(b"data: {}\n\n")
        await client.error(LLMError("overloaded", "too much"))

    *_, last = written(fail)
    assert last["body"].startswith(b'data: {}\n\ndata: {"error":')
    assert b"[DONE]" not in last["body"]
    assert not last.get("more_body")


def test_what_a_client_has_not_read_goes_out_in_its_turn() -> None:
    sent: list[bytes] = []

    async def slow() -> None:
        reads = asyncio.Event()

        async def send(message: Any) -> None:
            await reads.wait()
            sent.append(message["body"])
            if message["body"] == b"abc":
                client.write(b"d")  # as a provider does that goes on meanwhile
                await asyncio.sleep(0)

        client = Client(send, "the-id")
        assert not client.write(b"a") and not client.write(b"b")
        waiting = asyncio.ensure_future(client.caught_up())
        await asyncio.sleep(0)
        client.write(b"c")
        waiting.cancel()  # what it was about to send is still to be sent
        await asyncio.wait([waiting])
        assert (sent, client.behind_bytes) == ([], 3)
        reads.set()
        await client.caught_up()
        assert (b"".join(sent), client.behind_bytes) == (b"abcd", 0)
        client.write(b"e")
        await client.end(b"f")

    asyncio.run(slow())
    assert sent[-1] == b"ef"


def test_a_header_cannot_be_split_by_its_value() -> None:
    start, _ = written(lambda client: client.whole(200, b"{}", {"x-a": "b\r\nx-c: d", "x-e": "…"}))
    assert dict(start["headers"])[b"x-a"] == b"b  x-c: d"


def test_no_control_character_gets_into_a_header() -> None:
    controls = "".join(map(chr, (*range(32), 127)))
    start, _ = written(lambda client: client.whole(200, b"{}", {"x-a": f"b{controls}é"}))
    assert dict(start["headers"])[b"x-a"] == b"b" + b" " * 33 + b"\xe9"


def test_feature_names_fit_into_a_header() -> None:
    assert feature_list(["part:file", "messages[0].x", "a,b\n…"]) == "part:file, messages[0].x, a%2Cb%0A%E2%80%A6"


def body(*pieces: bytes, headers: tuple[tuple[bytes, bytes], ...] = (), end: bool = True) -> bytes:
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages.append({"type": "http.request", "body": b""} if end else {"type": "http.disconnect"})
    return asyncio.run(read_body(dict(headers), receiving(*messages), 10))


def test_a_body_is_read_whole() -> None:
    assert body(b"12345", b"67890") == b"1234567890"


def test_a_body_over_the_limit_is_refused_whether_or_not_it_says_so() -> None:
    for refused in ({"pieces": (b"12345678901",)}, {"pieces": (), "headers": ((b"content-length", b"11"),)}):
        with pytest.raises(LLMError) as caught:
            body(*refused["pieces"], headers=refused.get("headers", ()))  # type: ignore[arg-type]
        assert caught.value.status == 413


def test_a_client_that_goes_in_the_middle_of_its_body_is_no_error() -> None:
    with pytest.raises(HungUp):
        body(b"123", end=False)
