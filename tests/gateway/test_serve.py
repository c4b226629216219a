"""The first minute: `headgate serve` as a stranger runs it, and what it prints, pasted."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from gateway.first_run import Made
from gateway.serve import welcome
from tests.chaos import processes
from tests.running import as_process

HEADGATE = str(Path(sys.executable).parent / "headgate")


def started(arguments: list[str], folder: Path, **more: str) -> "subprocess.Popen[str]":
    env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | more
    return subprocess.Popen(
        [HEADGATE, "serve", *arguments], cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_the_printed_curl_line_streams_tokens_as_pasted(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = started(["--port", str(port)], tmp_path)
    try:
        assert process.stdout is not None
        printed = ""
        while not printed.rstrip().endswith("}'"):
            line = process.stdout.readline()
            assert line, "it ended without a curl line"
            printed += line
        command = "curl --retry 20 --retry-connrefused --retry-delay 1 -s" + printed.partition("  curl")[2]
        answer = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True).stdout
        assert answer.startswith("data: {")
        assert answer.rstrip().endswith("data: [DONE]")
        admin = next(word for word in printed.split() if word.startswith("sk-hg-admin-"))
        headers = {"authorization": f"Bearer {admin}"}
        report = httpx.get(f"http://127.0.0.1:{port}/admin/usage", headers=headers).json()
        assert float(report["spend_usd"]) > 0
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=40)
    again = started(["--port", str(port), "--routes", "missing.yaml"], tmp_path)
    _, told = again.communicate(timeout=40)
    assert again.returncode != 0
    assert "missing.yaml" in told and "Traceback" not in told


def test_a_broken_configuration_stops_the_start_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "routes.yaml").write_text("providers:\n  openai: {dialect: opnai}\n")
    (tmp_path / "pricing.yaml").write_text("models:\n  small: {inputt: 1}\n")
    process = started(["--routes", "routes.yaml", "--pricing", "pricing.yaml"], tmp_path)
    _, told = process.communicate(timeout=40)
    assert process.returncode != 0
    assert "routes.yaml:2:" in told and "did you mean 'openai'" in told
    assert "pricing.yaml:2:" in told and "did you mean 'input'" in told
    assert "Traceback" not in told


def test_the_workers_read_the_files_that_serve_was_given(tmp_path: Path, store_env: Mapping[str, str]) -> None:
    files = {
        "routes": 'providers:\n  here: {dialect: openai, base_url: "http://127.0.0.1:9/v1"}\nroutes:\n  mine: here/a\n',
        "pricing": "models:\n  here/a: {input: 3, output: 5}\n",
        "models": "models:\n  here/a: {max_output_tokens: 7, vision: false}\n",
    }
    arguments: list[str] = []
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        arguments += [f"--{name}", str(tmp_path / name)]
    with as_process(arguments, store_env) as gateway:
        headers = {"authorization": f"Bearer {gateway.new_key()}"}
        told = httpx.get(f"{gateway.url}/v1/models/mine", headers=headers).json()
    assert (told["pricing"], told["max_output_tokens"]) == ({"input": "3", "output": "5"}, 7)
    assert told["capabilities"]["vision"] is False


@pytest.mark.parametrize(
    ("host", "url"), [("127.0.0.1", "http://127.0.0.1:1"), ("0.0.0.0", "http://127.0.0.1:1"), ("::1", "http://[::1]:1")]
)
def test_the_welcome_names_an_address_that_can_be_called(host: str, url: str) -> None:
    assert f"curl -N {url}/v1/chat/completions" in welcome(Made("a", "v"), host, 1)


def test_later_starts_show_no_keys() -> None:
    assert "sk-" not in welcome(Made(None, None), "127.0.0.1", 1)


def test_an_address_that_is_taken_is_said_before_keys_are_shown(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = started(["--port", str(taken.getsockname()[1])], tmp_path)
        out, told = process.communicate(timeout=40)
    assert process.returncode != 0
    assert "sk-" not in out and "cannot listen" in told and "Traceback" not in told


def test_a_worker_that_dies_is_told_and_another_takes_its_place(tmp_path: Path, store_env: Mapping[str, str]) -> None:
    with processes.gateway(store_env, "{}", "{}", tmp_path) as gateway:
        (dead, other), waited = gateway.workers(), time.monotonic() + 30
        os.kill(dead, signal.SIGKILL)
        log = tmp_path / "gateway.log"
        while f"WARNING Child process [{dead}] died" not in log.read_text() or len(gateway.workers()) < 2:
            assert time.monotonic() < waited, log.read_text()
            time.sleep(0.05)
        assert other in gateway.workers() and dead not in gateway.workers()


@pytest.mark.parametrize("arguments", [["--port", "99999"], ["--workers", "0"], ["--port", "x"]])
def test_a_number_that_cannot_be_is_refused(tmp_path: Path, arguments: list[str]) -> None:
    process = started(arguments, tmp_path)
    _, told = process.communicate(timeout=40)
    assert process.returncode == 2 and "must be a number" in told


def stopped(folder: Path, **env: str) -> tuple["subprocess.Popen[str]", str]:
    """A start that fails by itself, and what it says of that."""
    process = started([], folder, **env)
    try:
        return process, process.communicate(timeout=40)[1]
    finally:
        process.kill()


def test_an_admin_key_that_cannot_be_sent_stops_the_start(tmp_path: Path) -> None:
    process, told = stopped(tmp_path, HEADGATE_ADMIN_KEY="sk-one\nsk-two")
    assert process.returncode == 1
    assert told == "headgate: HEADGATE_ADMIN_KEY is no key: it holds more than ASCII's printable characters\n"
    assert not list(tmp_path.iterdir())


def test_an_authority_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    process, told = stopped(tmp_path, SSL_CERT_FILE="missing.pem")
    assert process.returncode == 1
    assert told == "headgate: SSL_CERT_FILE is missing.pem, which cannot be read: No such file or directory\n"


def test_a_proxy_of_a_kind_that_is_not_understood_stops_the_start(tmp_path: Path) -> None:
    process, told = stopped(tmp_path, HTTPS_PROXY="socks5://proxy.test")
    assert process.returncode != 0
    assert told.startswith("headgate: HTTPS_PROXY is a socks5:// proxy") and "Traceback" not in told
