"""The boundaries of the parts, and that every module has tests of its name."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
ONE_DOOR = {
    "hiredis": "gateway/ledger/redis_place.py",
    "httptools": "gateway/connection.py gateway/http1.py",  # towards the providers, and towards the callers
    "httpx": "gateway/fetch.py",
    "pyarrow": "gateway/reports/parquet.py",
    "redis": "gateway/ledger/redis_place.py",
    "sqlite3": "gateway/ledger/sqlite_file.py",
    "yaml": "gateway/config.py",
}
NO_IO = {
    *("gateway", "httpx", "redis", "starlette", "uvicorn", "anyio", "asyncio", "socket", "ssl", "os", "time", "random"),
    *("secrets", "uuid", "logging", "sqlite3", "threading", "subprocess", "pathlib", "io"),
}
SCHEMA_ONLY = {"anthropic", "google", "openai", "botocore"}
DIALECTS = {"anthropic", "bedrock", "gemini", "openai", "openrouter", "vertex"}
COMPOSED = {  # a host's envelope around its makers' shapes
    "openrouter": {"openai"},
    "vertex": {"anthropic", "gemini", "openai"},
}
TOKENS = {
    "gateway/credentials/aws.py": "botocore",
    "gateway/credentials/google.py": "google",
}  # imported where a provider needs them


def imports(path: Path) -> set[str]:
    """The modules that a file imports, by their first name, and translators' by their second."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name.split(".")[0] for name in names} | {
        f"translators.{name.split('.')[1]}" for name in names if name.startswith("translators.")
    }


def modules(package: str) -> list[Path]:
    return sorted(path for path in (ROOT / package).rglob("*.py"))


def test_translators_are_pure() -> None:
    for path in modules("translators"):
        assert not imports(path) & NO_IO, path


def test_dialects_do_not_import_each_other() -> None:
    for path in modules("translators"):
        family = path.stem.split("_")[0]
        if family in DIALECTS:
            others = {name for name in imports(path) if name.startswith("translators.")}
            assert not {name.split(".")[1].split("_")[0] for name in others} & (
                DIALECTS - {family} - COMPOSED.get(family, set())
            ), path


def test_each_outside_world_has_one_door() -> None:
    for path in modules("gateway"):
        for library, door in ONE_DOOR.items():
            known = str(path.relative_to(ROOT)) in door.split()
            assert library not in imports(path) or known, f"{library} belongs in {door}, not {path}"


def test_the_providers_sdks_are_schema_and_never_transport() -> None:
    for path in [*modules("gateway"), *modules("translators")]:
        assert not imports(path) & SCHEMA_ONLY - {TOKENS.get(str(path.relative_to(ROOT)))}, path


def test_every_module_has_tests_of_its_name() -> None:
    for package in ("gateway", "translators"):
        for path in modules(package):
            if path.name == "__init__.py":
                continue
            mirror = ROOT / "tests" / path.parent.relative_to(ROOT) / f"test_{path.name}"
            assert mirror.exists(), f"{path.relative_to(ROOT)} has no {mirror.relative_to(ROOT)}"


def test_no_file_is_named_for_nothing() -> None:
    nothing = {"utils", "helpers", "common", "base", "manager", "handler", "handlers", "service", "misc"}
    for path in [*modules("gateway"), *modules("translators")]:
        assert path.stem not in nothing, path
