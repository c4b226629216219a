"""The connections of callers, on the wire: requests in line, however they are cut, and silence."""

import socket
import time
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import http1
from gateway.http1 import MAX_HEAD_BYTES, MOST_WAITING
from tests.gateway.caller import HUNG_UP, KEPT_S, LONG, Client


def test_one_connection_serves_one_request_after_another(client: Client) -> None:
    for path, body in (("/whole", b"whole"), ("/pieces", b"onetwo"), ("/whole", b"whole")):
        client.send(f"GET {path}")
        assert client.whole() == (200, body)
    client.send("GET /none")
    assert client.head() == (204, {})
    client.send("GET /whole")
    assert client.whole() == (200, b"whole")


def test_requests_sent_together_are_answered_in_order(client: Client) -> None:
    client.socket.sendall(
        b"".join(b"GET /%b HTTP/1.1\r\nhost: x\r\n\r\n" % path for path in (b"late", b"whole", b"pieces"))
    )
    assert [client.whole() for _ in range(3)] == [(200, b"late"), (200, b"whole"), (200, b"onetwo")]


def test_what_the_application_sees(client: Client) -> None:
    client.send("PUT /scope?a=%20b&c")
    assert client.whole()[1] == repr(["PUT", "/scope", b"/scope", b"a=%20b&c", "1.1"]).encode()
    client.send("GET /%73cope")
    assert client.whole()[1] == repr(["GET", "/scope", b"/%73cope", b"", "1.1"]).encode()
    client.send("GET http://x/scope?d#e")
    assert client.whole()[1] == repr(["GET", "/scope", b"/scope", b"d", "1.1"]).encode()


@pytest.mark.parametrize(
    "nonsense", [b"nonsense\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n", b"GET http://[x/ HTTP/1.1\r\n\r\n"]
)
def test_what_is_no_http_is_told_so(client: Client, nonsense: bytes) -> None:
    client.socket.sendall(nonsense)
    assert client.head()[0] == 400


def test_an_upgrade_is_not_taken_up(client: Client) -> None:
    client.send("GET /whole", connection="upgrade", upgrade="websocket")
    assert client.whole() == (200, b"whole")


@pytest.mark.parametrize("cut", [1, 50, 10_000])
def test_a_request_that_offers_an_upgrade_keeps_its_body(client: Client, cut: int) -> None:
    head = "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A"
    sent = f"{head}\r\ncontent-length: 2\r\n\r\nok".encode() * 3
    for start in range(0, len(sent), cut):
        client.socket.sendall(sent[start : start + cut])
        time.sleep(0.0005)
    assert [client.whole() for _ in range(3)] == [(200, b"ok")] * 3
    client.send("POST /echo", b"ok", connection="close, upgrade", upgrade="h2c")
    assert client.head()[1]["connection"] == "close"
    assert client.file.read() == b"ok"


def test_a_tunnel_is_not_dug(client: Client) -> None:
    client.send("CONNECT api.test:443")
    assert client.head()[0] == 400


def test_a_hang_up_behind_another_request_is_heard_of(client: Client) -> None:
    HUNG_UP.clear()
    client.socket.sendall(b"GET /goes-on HTTP/1.1\r\nhost: x\r\n\r\nGET /whole HTTP/1.1\r\nhost: x\r\n\r\n")
    assert client.head()[0] == 200
    client.hang_up()
    assert HUNG_UP.wait(2)


def test_whole_answers_keep_the_order_of_their_requests(client: Client) -> None:
    client.socket.sendall(
        b"".join(b"GET /%b HTTP/1.1\r\nhost: x\r\n\r\n" % path for path in (b"late", b"answered") * 2)
    )
    assert [client.whole()[1] for _ in range(4)] == [b"late", b"all at once"] * 2


def test_an_idle_connection_is_closed_in_its_time_and_a_busy_one_is_not(client: Client) -> None:
    for _ in range(3):  # each comes while the one before it would still be idle
        client.send("GET /whole")
        assert client.whole() == (200, b"whole")
        time.sleep(KEPT_S * 0.6)
    assert client.ended()  # within the socket's own five seconds


def test_a_connection_is_idle_again_when_a_body_comes_behind_its_answer(client: Client) -> None:
    client.socket.sendall(b"POST /at-once HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n")
    assert client.whole() == (200, b"ok")
    client.socket.sendall(b"late")
    assert client.ended()


def test_many_requests_at_once_keep_nobody_else_waiting(client: Client, port: int) -> None:
    HUNG_UP.clear()
    client.socket.sendall(b"GET /told HTTP/1.1\r\nhost: x\r\n\r\n" + b"GET / HTTP/1.1\r\n\r\n" * (MOST_WAITING + 1))
    with suppress(ConnectionError):
        assert client.ended()
    assert HUNG_UP.wait(2)


def test_requests_that_wait_are_answered_up_to_a_bound(client: Client) -> None:
    client.socket.sendall(b"GET /late HTTP/1.1\r\nhost: x\r\n\r\n" * (MOST_WAITING + 1))
    assert [client.whole() for _ in range(MOST_WAITING + 1)] == [(200, b"late")] * (MOST_WAITING + 1)


@pytest.mark.parametrize("pause_s", [0.0, 0.05])
def test_what_comes_behind_a_body_is_not_of_the_head(client: Client, pause_s: float) -> None:
    chunked = b"POST /headers HTTP/1.1\r\nhost: x\r\nx-who: one\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n"
    client.socket.sendall(chunked)
    time.sleep(pause_s)
    client.socket.sendall(b"0\r\nx-who: another\r\n\r\n")
    status, said = client.whole()
    assert status == 200 and b"one" in said and b"another" not in said


ENDLESS = {
    "a head": b"GET /whole HTTP/1.1\r\nx-long: ",
    "a path": b"GET /whole",
    "trailers": b"POST /at-once HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-long: ",
    "what a chunk is called": b"POST /at-once HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n2;",
}


@pytest.mark.parametrize("begun", ENDLESS.values(), ids=ENDLESS)
def test_a_head_without_an_end_is_refused(client: Client, begun: bytes) -> None:
    client.socket.sendall(begun)
    with suppress(ConnectionError):
        for _ in range(64):
            client.socket.sendall(b"x" * MAX_HEAD_BYTES)
        client.socket.shutdown(socket.SHUT_WR)
    with suppress(ConnectionError):
        assert b"431" in client.file.read()


def test_a_hang_up_is_heard_of_when_another_request_came_later(client: Client) -> None:
    HUNG_UP.clear()
    client.send("GET /told")
    time.sleep(0.05)
    client.send("GET /whole")
    time.sleep(0.05)
    client.hang_up()
    assert HUNG_UP.wait(2)


def test_a_large_body_behind_another_request_does_not_keep_a_hang_up_from_being_heard(client: Client) -> None:
    HUNG_UP.clear()
    client.send("GET /told")
    with suppress(ConnectionError):
        client.send("POST /echo", body=b"x" * 1_000_000)
    client.hang_up()
    assert HUNG_UP.wait(2)


def test_a_large_body_that_comes_in_one_piece_behind_a_head_like_the_last_is_taken(client: Client, port: int) -> None:
    bodies = [letter * 200_000 for letter in (b"a", b"b", b"c", b"d")]
    other = Client(port)
    for body in bodies:
        other.send("GET /busy")
        time.sleep(0.05)
        client.send("POST /echo", body=body)
        assert client.whole() == (200, body)
        assert other.whole() == (200, b"ok")
    other.hang_up()


IDLE = {
    "nothing": b"",
    "half a head": b"GET /whole HTTP/1.1\r\nhost: x\r\n",
    "an empty line behind an answer": b"GET /at-once HTTP/1.1\r\nhost: x\r\n\r\n\r\n",
    "half a body behind an answer": b"POST /at-once HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nok",
}


@pytest.mark.parametrize("sent", IDLE.values(), ids=IDLE)
def test_a_connection_that_asks_for_nothing_more_is_closed_in_its_time(client: Client, sent: bytes) -> None:
    client.socket.sendall(sent)
    client.socket.sendall(b"")
    client.file.read()  # up to its end, within the socket's own five seconds


def test_a_caller_who_reads_nothing_more_is_let_go(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "UNREAD_S", 0.2)
    HUNG_UP.clear()
    client.send("GET /flood")
    assert HUNG_UP.wait(4)  # the socket is open all the while


def test_a_caller_who_reads_slowly_gets_all_of_it(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "UNREAD_S", 0.2)
    client.send("POST /echo HTTP/1.1", body=b"x" * LONG, connection="close")
    _, headers = client.head()
    left = int(headers["content-length"])
    while left:
        time.sleep(0.02)
        left -= len(client.file.read(min(left, 100_000)))
    assert client.ended()


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, list[tuple[bytes, bytes]], bytes]:
    """One as it stands on the wire, and the headers and the body that are to come of it."""
    body = draw(st.binary(max_size=40))
    lines = [(b"host", b"x"), (b"x-a", draw(st.sampled_from((b"1", b"2"))))]
    length = (draw(st.sampled_from((b"content-length", b"Content-Length"))), b"%d" % len(body))
    lines.insert(draw(st.integers(0, 2)), length)
    head = b"".join(b"%b: %b\r\n" % line for line in lines)
    seen = [(name.lower(), value) for name, value in lines]
    return b"POST /seen HTTP/1.1\r\n%b\r\n%b" % (head, body), seen, body


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(requests(), min_size=1, max_size=5).flatmap(lambda made: st.permutations(made * 2)),
    st.lists(st.integers(0, 2000), max_size=6),
    st.booleans(),
)
def test_a_head_that_is_like_the_last_one_is_read_as_the_first_was(
    port: int, sent: list[tuple[bytes, list[tuple[bytes, bytes]], bytes]], cuts: list[int], in_turn: bool
) -> None:
    client = Client(port)
    client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    expected = [(200, repr([headers, body]).encode()) for _, headers, body in sent]
    if in_turn:  # each when the one before it is answered, as clients do
        got = []
        for wire, _, _ in sent:
            for piece in _cut(wire, cuts):
                client.socket.sendall(piece)
                time.sleep(0.0005)
            got.append(client.whole())
    else:
        for piece in _cut(b"".join(wire for wire, _, _ in sent), cuts):
            client.socket.sendall(piece)
            time.sleep(0.0005)
        got = [client.whole() for _ in sent]
    client.socket.close()
    assert got == expected


def _cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % len(data) for cut in cuts} | {0, len(data)})
    return [data[begin:end] for begin, end in pairwise(places)]


@pytest.mark.parametrize(
    "length", [b"+2", b" 2", b"2 ", b"2, 2", b"0x2", b"-2", b"2\r\ncontent-length: 2", b"99999999999"]
)
def test_a_length_that_is_none_is_refused_behind_a_good_one_too(client: Client, length: bytes) -> None:
    good = b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nok"
    for _ in range(2):
        client.socket.sendall(good)
        assert client.whole() == (200, b"ok")
    client.socket.sendall(good.replace(b"length: 2", b"length: " + length))
    if length in (b" 2", b"2 "):  # blanks may stand around it (RFC 9110, section 5.5)
        assert client.whole() == (200, b"ok")
    elif length != b"99999999999":
        assert client.head()[0] == 400


def test_a_body_behind_a_known_head_may_come_late_and_its_answer_early(client: Client) -> None:
    head = b"POST /at-once HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n"
    for _ in range(3):
        client.socket.sendall(head)
        assert client.whole() == (200, b"ok")
        client.socket.sendall(b"late")
    client.send("GET /whole")
    assert client.whole() == (200, b"whole")
