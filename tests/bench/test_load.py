"""The mock upstream and the load generator, against each other and against answers that are not good."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench import answers, gateways, load
from bench.answers import Dialect
from bench.gateways import Gateway, Upstream
from bench.processes import free_port


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    with gateways.upstream(tmp_path_factory.mktemp("upstream"), free_port()) as there:
        there.pace(1)
        yield there


def straight(there: Upstream) -> Gateway:
    return Gateway("straight", "", there.port, there.pid, native=True)


@pytest.mark.parametrize("dialect", answers.DIALECTS)
@pytest.mark.parametrize("streamed", [False, True])
def test_every_answer_is_whole(upstream: Upstream, dialect: Dialect, streamed: bool, tmp_path: Path) -> None:
    least = len(answers.stream(dialect) if streamed else answers.whole(dialect))
    work = straight(upstream).work(dialect, streamed, concurrency=8, requests=40)
    run = load.run(replace(work, least=least), upstream.port, tmp_path)
    assert run.done == 40
    assert 0 < run.first_byte_ms["p50"] <= run.first_content_ms["p50"] <= run.latency_ms["max"]
    with pytest.raises(load.Failed, match="too short"):
        load.run(replace(work, least=least + 1), upstream.port, tmp_path)
    with pytest.raises(load.Failed, match="end mark"):
        load.run(replace(work, end="not in it"), upstream.port, tmp_path)


def test_an_even_rate_begins_all_that_were_due_and_leaves_out_the_warm(upstream: Upstream, tmp_path: Path) -> None:
    work = straight(upstream).work("openai", True, rate=100.0, seconds=0.5)
    assert load.run(work, upstream.port, tmp_path).done == 50
    with pytest.raises(load.Failed, match="0 of 50"):  # all of them were for warming up
        load.run(replace(work, warm=0.5), upstream.port, tmp_path)


def test_the_pace_and_the_length_of_streams_can_be_changed(upstream: Upstream, tmp_path: Path) -> None:
    work = replace(straight(upstream).work("openai", True, requests=1), least=len(answers.stream("openai", 128)))
    upstream.pace(0, 128)
    assert load.run(work, upstream.port, tmp_path).done == 1
    upstream.pace(1)
    with pytest.raises(load.Failed, match="too short"):
        load.run(work, upstream.port, tmp_path)


REFUSED = b'HTTP/1.1 429 Too Many Requests\r\ncontent-length: 16\r\n\r\n{"error": "full"'
CUT = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"


@pytest.mark.parametrize(
    ("answer", "why"), [(REFUSED, "429 .*full"), (CUT, "within an answer"), (b"", "within an answer")]
)
def test_an_answer_that_is_not_good_is_told(answer: bytes, why: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            client, _ = listening.accept()
            with client:
                client.recv(65536)
                client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        port = listening.getsockname()[1]
        with pytest.raises(load.Failed, match=why):
            load.run(load.Work(answers.http("/", b"{}", {}), "", requests=1), port, tmp_path)
        thread.join()


def test_nobody_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(load.Failed, match="refused"):
        load.run(load.Work(answers.http("/", b"{}", {}), "", requests=1), free_port(), tmp_path)
