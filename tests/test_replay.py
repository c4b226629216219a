"""The replaying upstream does what the other tests rely on."""

import http.client
import json
import socket
from urllib.request import Request as Call
from urllib.request import urlopen

import pytest

from tests.replay import (
    HTML,
    NOTHING,
    SILENCE,
    Reply,
    Upstream,
    event_reply,
    json_reply,
    recorded,
    recording,
    refused_url,
)


def connection(upstream: Upstream) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", upstream.port, timeout=5)


def test_answers_in_the_scripted_order_and_records_the_requests(upstream: Upstream) -> None:
    upstream.answer(json_reply(200, {"first": 1}), json_reply(429, {"second": 2}, {"retry-after": "3"}))
    client = connection(upstream)
    client.request("POST", "/v1/chat/completions?x=1", b'{"model":"m"}', {"Authorization": "Bearer k"})
    assert json.loads(client.getresponse().read()) == {"first": 1}
    client.request("POST", "/again", b"{}")
    second = client.getresponse()
    assert (second.status, second.headers["retry-after"], second.read()) == (429, "3", b'{"second": 2}')
    client.close()
    first, again = upstream.requests
    assert (first.method, first.path, first.json()) == ("POST", "/v1/chat/completions?x=1", {"model": "m"})
    assert first.headers["authorization"] == "Bearer k"
    assert again.path == "/again"
    assert upstream.connections == 1  # kept alive
    upstream.wait_until(lambda: upstream.open_connections == 0)
    assert upstream.hung_up == 0


def test_a_recorded_stream_arrives_as_it_was_sent_whatever_the_size_of_the_drips(upstream: Upstream) -> None:
    row = recording("openai.chat", "07a7c2a17a05")
    upstream.answer(recorded(row), recorded(row).dripped(1), recorded(row).dripped(7))
    for _ in range(3):
        with urlopen(Call(upstream.url, b"{}")) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            assert response.read().decode() == row["response"]["body_text"]


def test_without_a_script_the_handler_answers_by_the_request(upstream: Upstream) -> None:
    upstream.handler = lambda request: json_reply(200, {"model": request.json()["model"]})
    for model in ("a", "b"):
        with urlopen(Call(upstream.url, json.dumps({"model": model}).encode())) as response:
            assert json.load(response) == {"model": model}


@pytest.mark.parametrize("reply", [event_reply({"n": 1}, {"n": 2}), json_reply(200, {"n": 1})], ids=["events", "whole"])
def test_a_cut_is_noticed_by_the_client(upstream: Upstream, reply: Reply) -> None:
    upstream.answer(reply.cut(4))
    client = connection(upstream)
    client.request("POST", "/", b"{}")
    with pytest.raises(http.client.IncompleteRead) as caught:
        client.getresponse().read()
    assert len(caught.value.partial) <= 4
    client.close()


def test_nothing_closes_without_an_answer(upstream: Upstream) -> None:
    upstream.answer(NOTHING)
    client = connection(upstream)
    client.request("POST", "/", b"{}")
    with pytest.raises(http.client.RemoteDisconnected):
        client.getresponse()
    client.close()


def test_a_client_that_leaves_a_silent_or_stalled_upstream_is_counted(upstream: Upstream) -> None:
    upstream.answer(SILENCE, event_reply({"n": 1}).stalled(3))
    for expected, read in ((1, 0), (2, 3)):
        with socket.create_connection(("127.0.0.1", upstream.port), timeout=5) as client:
            client.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}")
            upstream.wait_until(lambda seen=expected: len(upstream.requests) == seen)  # type: ignore[misc]
            received = b""
            while read and not received.endswith(b"3\r\ndat\r\n"):
                received += client.recv(100)
        upstream.wait_until(lambda seen=expected: upstream.hung_up == seen)  # type: ignore[misc]
    assert upstream.open_connections == 0


def test_html_and_a_refused_connection(upstream: Upstream) -> None:
    upstream.answer(HTML)
    client = connection(upstream)
    client.request("POST", "/", b"{}")
    assert client.getresponse().read().startswith(b"<html>")
    client.close()
    with pytest.raises(OSError, match="refused"):
        urlopen(refused_url())
