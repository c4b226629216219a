"""One request and its answer, on the wire: what a client reads, byte by byte, whatever the application sends."""

import socket
import threading
import time
from collections.abc import Mapping

import pytest

from tests.gateway.caller import HUNG_UP, LONG, PIECE, Client


def test_a_head_request_gets_the_head_alone(client: Client) -> None:
    client.send("HEAD /whole")
    assert client.head()[1]["content-length"] == "5"
    client.send("HEAD /pieces")
    assert "transfer-encoding" not in client.head()[1]
    client.send("GET /whole")
    assert client.whole() == (200, b"whole")


def test_a_body_of_any_size_comes_through_both_ways(client: Client) -> None:
    sent = bytes(range(256)) * (LONG // 256)
    threading.Thread(target=lambda: client.send("POST /echo", sent)).start()
    assert client.whole() == (200, sent)


def test_what_is_written_at_once_ends_where_the_client_does_not_keep_up(client: Client) -> None:
    client.send("GET /written")
    time.sleep(0.2)
    status, body = client.whole()
    pieces = int(body.rpartition(PIECE)[2])
    assert (status, body) == (200, PIECE * pieces + b"%d" % pieces)
    assert 0 < pieces * len(PIECE) < 100 * LONG


def test_a_client_that_waits_to_be_told_is_told_to_go_on(client: Client) -> None:
    client.socket.sendall(b"POST /echo HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
    assert client.head() == (100, {})
    client.socket.sendall(b"ok")
    assert client.whole() == (200, b"ok")


def test_a_client_that_was_never_told_to_go_on_is_not_waited_for(client: Client) -> None:
    client.socket.sendall(b"POST /at-once HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
    assert client.head()[1]["connection"] == "close"
    assert client.file.read() == b"ok"


@pytest.mark.parametrize(
    ("line", "headers"), [("GET /closes", {}), ("GET /whole", {"connection": "close"}), ("GET /whole HTTP/1.0", {})]
)
def test_the_connection_ends_where_either_side_says_so(client: Client, line: str, headers: Mapping[str, str]) -> None:
    client.send(line, b"", **headers)
    assert client.head()[1]["connection"] == "close"
    assert client.file.read() in (b"ok", b"whole")


def test_a_header_cannot_be_smuggled_in(client: Client) -> None:
    client.send("GET /injected")
    status, headers = client.head()
    assert (status, "x-c" in headers) == (500, False)


def test_an_answer_that_is_not_what_was_promised_is_cut(client: Client) -> None:
    client.send("GET /short")
    assert client.file.read() in (b"",)


def test_the_application_hears_of_a_hang_up(client: Client) -> None:
    HUNG_UP.clear()
    client.send("GET /waits")
    client.socket.shutdown(socket.SHUT_RDWR)
    assert HUNG_UP.wait(2)


def test_a_whole_answer_goes_out_at_once_and_the_connection_serves_on(client: Client) -> None:
    for _ in range(2):
        client.send("GET /answered")
        status, headers = client.head()
        assert (status, headers["x-a"], headers["content-length"]) == (200, "b", "11")
        assert client.file.read(11) == b"all at once"
    client.send("GET /answered HTTP/1.0")
    status, headers = client.head()
    assert (headers["connection"], client.file.read()) == ("close", b"all at once")


def test_a_whole_answer_to_a_head_request_has_no_body(client: Client) -> None:
    client.send("HEAD /answered")
    assert client.head()[1]["content-length"] == "9"
    client.send("GET /whole")
    assert client.whole() == (200, b"whole")


@pytest.mark.parametrize("behind", [b"", b"GET /whole HTTP/1.1\r\nhost: x\r\n\r\n"], ids=["alone", "another behind it"])
def test_who_asks_to_be_told_of_a_hang_up_is_told(client: Client, behind: bytes) -> None:
    HUNG_UP.clear()
    client.socket.sendall(b"GET /told HTTP/1.1\r\nhost: x\r\n\r\n" + behind)
    client.hang_up()
    assert HUNG_UP.wait(2)


def test_an_older_client_is_answered_as_it_can_read(client: Client) -> None:
    client.send("POST /pieces HTTP/1.0", body=b"x", expect="100-continue")
    status, headers = client.head()
    assert (status, headers["connection"]) == (200, "close") and "transfer-encoding" not in headers
    assert client.file.read() == b"onetwo"


@pytest.mark.parametrize("line", ["GET /begun", "GET /begun HTTP/1.0", "HEAD /begun"])
def test_a_stream_begins_as_its_caller_can_read_it(client: Client, line: str) -> None:
    client.send(line)
    status, headers = client.head()
    assert (status, headers["x-a"]) == (200, "b")
    if line.startswith("HEAD"):
        client.send("GET /whole")
        assert client.whole() == (200, b"whole")
    elif line.endswith("1.0"):
        assert client.file.read() == b"onetwo" and "transfer-encoding" not in headers
    else:
        assert headers["transfer-encoding"] == "chunked"
        assert client.file.read(21) == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
