"""The peers: installed into bench/peers from the package registries, started as their documentation says, one worker.

Each gets as little to do as it can be given: no keys and no budgets where these need a database.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import answers
from bench.gateways import PEERS, PROVIDER_KEY, Gateway, Upstream, nginx_program
from bench.processes import WORKER_CORE, free_port, listens, running


class NotInstalled(Exception):
    """Why it could not be had."""


# ---- installing ----


def install_nginx() -> Path:
    """Debian's package, unpacked beside us: no service is started and no privilege is needed. Raises NotInstalled."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise NotInstalled("nginx: there is no apt-get here; install nginx so that it is on the PATH")
    folder = PEERS / "nginx"
    folder.mkdir(parents=True, exist_ok=True)
    _run(["apt-get", "download", "-q", "nginx"], folder)
    (package,) = folder.glob("nginx_*.deb")
    _run(["dpkg-deb", "-x", str(package), str(folder)], folder)
    package.unlink()
    program = nginx_program()
    assert program is not None
    return program


def install_python(name: str, requirement: str) -> None:
    """A package from PyPI in a virtual environment of its own. Raises NotInstalled."""
    folder = PEERS / name
    _run([sys.executable, "-m", "venv", str(folder)], PEERS)
    _run([str(folder / "bin" / "python"), "-m", "pip", "install", "-q", requirement], folder)


def install_portkey() -> None:
    """From npm, with the @hono/node-server that its own lock file has. Raises NotInstalled.

    npm alone would take a later one, with which it answers every stream with a 500 (Portkey-AI/gateway, issue 1389).
    """
    if shutil.which("npm") is None:
        raise NotInstalled("portkey: there is no npm here")
    (PEERS / "portkey").mkdir(parents=True, exist_ok=True)
    package = {"private": True, "overrides": {"@hono/node-server": "1.13.5"}}
    (PEERS / "portkey" / "package.json").write_text(json.dumps(package))
    _run(["npm", "install", "--silent", "--no-audit", "--no-fund", "@portkey-ai/gateway"], PEERS / "portkey")


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise NotInstalled(f"{' '.join(command[:4])} …: {done.stderr.strip()[-400:]}")


INSTALL: dict[str, Callable[[], object]] = {
    "nginx": install_nginx,
    "litellm": lambda: install_python("litellm", "litellm[proxy]"),
    "portkey": install_portkey,
    "sglang": lambda: install_python("sglang", "sglang-router"),
}


def install_all() -> bool:
    """Installs what is not there, and says of each what became of it. False if one could not be had."""
    PEERS.mkdir(exist_ok=True)
    well = True
    for name, install in INSTALL.items():
        if (name in STARTED and installed(name)) or (name == "nginx" and nginx_program()):
            print(f"{name}: here already")
            continue
        try:
            install()
            print(f"{name}: installed")
        except NotInstalled as why:
            print(f"{name}: NOT installed: {why}")
            well = False
    return well


# ---- starting ----


@contextmanager
def litellm(there: Upstream, folder: Path) -> Iterator[Gateway]:
    """docs.litellm.ai, "Best Practices for Production" (read 2026-11): one uvicorn worker, no debugging, LITELLM_MODE.

    Virtual keys and budgets need PostgreSQL through Prisma, whose engine comes from none of the registries: it runs
    without, with its master key alone.
    """
    port, key, config = free_port(), "sk-master-of-the-bench", folder / "litellm.yaml"
    models = [
        {
            "model_name": answers.MODELS["openai"],
            "litellm_params": {
                "model": f"openai/{answers.MODELS['openai']}",
                "api_base": f"http://127.0.0.1:{there.port}/v1",
                "api_key": PROVIDER_KEY,
            },
        }
    ]
    settings = {
        "model_list": models,
        "general_settings": {"master_key": key},
        "litellm_settings": {"request_timeout": 600, "set_verbose": False, "json_logs": True},
    }
    config.write_text(json.dumps(settings))
    env = {
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "NO_PROXY": "127.0.0.1",
    }
    command = [str(PEERS / "litellm" / "bin" / "litellm"), "--config", str(config), "--port", str(port)]
    command += ["--host", "127.0.0.1", "--num_workers", "1"]
    with running(command, WORKER_CORE, folder / "litellm.log", lambda: listens(port), env) as pid:
        note = "no virtual keys, no budgets: its database engine cannot be had from the registries"
        yield Gateway("litellm", _python_version("litellm"), port, pid, {"authorization": f"Bearer {key}"}, note=note)


@contextmanager
def portkey(there: Upstream, folder: Path) -> Iterator[Gateway]:
    """Its README and docs, Node.js server (read 2026-11): `node build/start-server.js`; the provider in headers."""
    port, package = free_port(), PEERS / "portkey" / "node_modules" / "@portkey-ai" / "gateway"
    headers = {
        "authorization": f"Bearer {PROVIDER_KEY}",
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"http://127.0.0.1:{there.port}/v1",
    }
    env = {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"}
    command = ["node", str(package / "build" / "start-server.js"), f"--port={port}", "--headless"]
    version = json.loads((package / "package.json").read_text())["version"]
    with running(command, WORKER_CORE, folder / "portkey.log", lambda: listens(port), env) as pid:
        yield Gateway("portkey", version, port, pid, headers, note="no keys, no budgets: it has none by itself")


@contextmanager
def sglang(there: Upstream, folder: Path) -> Iterator[Gateway]:
    """docs.sglang.io, "SGLang Model Gateway", OpenAI backend proxy (read 2026-11)."""
    port = free_port()
    python = str(PEERS / "sglang" / "bin" / "python")
    command = [python, "-m", "sglang_router.launch_router", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend", "openai", "--worker-urls", f"http://127.0.0.1:{there.port}", "--history-backend", "none"]
    command += ["--prometheus-port", str(free_port()), "--log-level", "warn", "--max-concurrent-requests", "4096"]
    env = {"TOKIO_WORKER_THREADS": "1"}
    headers = {"authorization": f"Bearer {PROVIDER_KEY}"}
    with running(command, WORKER_CORE, folder / "sglang.log", lambda: listens(port), env) as pid:
        yield Gateway("sglang", _python_version("sglang"), port, pid, headers, note="no keys, no budgets")


STARTED = {"litellm": litellm, "portkey": portkey, "sglang": sglang}


def installed(name: str) -> bool:
    """Whether `scripts/bench peers` has brought it in."""
    made = {"portkey": PEERS / "portkey" / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"}
    made |= {"litellm": PEERS / "litellm" / "bin" / "litellm", "sglang": PEERS / "sglang" / "bin" / "smg"}
    return made[name].exists()


def _python_version(name: str) -> str:
    listed = [str(PEERS / name / "bin" / "python"), "-m", "pip", "list", "--format=json"]
    found = json.loads(subprocess.run(listed, capture_output=True, text=True, check=True).stdout)
    return "".join(each["version"] for each in found if each["name"] in ("litellm", "sglang-router"))
