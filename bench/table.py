"""The table as text, and the results as JSON with the machine, the versions and the commit."""

import json
import platform
import subprocess
import sysconfig
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from bench.gateways import ROOT
from bench.processes import CORES
from bench.rows import Row

RESULTS = Path(__file__).parent / "results"
LATEST = RESULTS / "latest.json"
NOISE = 0.03  # of a core: less is the system's own


def verdict(row: Row) -> str:
    """`met`, or by how much it falls short."""
    if row.figure is None:
        return "not measured"
    if row.met:
        return "met"
    target = row.at_most if row.at_most is not None else row.at_least
    if target is None:
        return ""
    if not target:
        return "short"
    off = row.figure / target - 1 if row.at_most is not None else 1 - row.figure / target
    return f"short by {off * 100:.0f} %"


def figure(row: Row) -> str:
    """The figure with its unit, three digits."""
    return "–" if row.figure is None else f"{row.figure:.3g} {row.unit}"


def target(row: Row) -> str:
    """The target in the figure's unit."""
    if row.at_most is not None:
        return f"≤ {row.at_most:g}"
    return "" if row.at_least is None else f"≥ {row.at_least:g}"


def about(row: Row) -> str:
    """Who took how much, the median where it does not count, what else there is to say, whether other programs ran."""
    costs = ", ".join(f"{name} {_time(us)}{_of_store(row.store_us.get(name, 0.0))}" for name, us in row.us.items())
    middle = f"median {median(row.samples):.3g}" if row.counts == "quiet" and len(row.samples) > 1 else ""
    noisy = f"noisy: others took {row.others * 100:.0f} % of a core" if row.others > NOISE else ""
    return "; ".join(each for each in (costs, middle, row.note, noisy) if each)


def _time(us: float) -> str:
    return f"{us:.3g} µs" if us < 1000 else f"{us / 1000:.3g} ms"


def _of_store(us: float) -> str:
    return f" + {_time(us)} of its store" if us else ""


def line(row: Row) -> str:
    """One row, as it is printed when it is there; where it falls short, with the reason below."""
    told = f"{row.work:<66} {figure(row):>14} {target(row):>7}  {verdict(row):<16} {about(row)}".rstrip()
    return f"{told}\n    {row.why}" if row.why and row.met is False else told


def results(
    rows: list[Row], how: str, others: float, versions: dict[str, str], memory: list[dict[str, float]]
) -> dict[str, Any]:
    """Everything of a run, for JSON. `memory`: what reads took before each round."""
    about = Path("/proc/cpuinfo").read_text().splitlines()
    model = [each.partition(":")[2].strip() for each in about if each.startswith("model name")]
    return {
        "commit": commit(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "how": how,
        "others": round(others, 3),  # cores that other programs took meanwhile
        "machine": {
            "cpu": model[0] if model else platform.machine(),
            "cores": len(CORES),
            "kernel": platform.release(),
            "memory_ns": memory,
        },
        "python": python(),
        "versions": versions,
        "rows": [rounded(asdict(row)) | {"figure": rounded(row.figure), "met": row.met} for row in rows],
    }


def rounded(value: Any) -> Any:
    """The same with numbers of four digits: the results are committed, and read in diffs."""
    match value:
        case float():
            return float(f"{value:.4g}")
        case dict():
            return {name: rounded(each) for name, each in value.items()}
        case list() | tuple():
            return [rounded(each) for each in value]
    return value


def python() -> dict[str, Any]:
    """The interpreter that runs us and Headgate, and how many of Headgate's modules are compiled to C.

    `optimised`: the flags of its `configure` that make it faster. A distribution's may be built with a profile and
    not say so here, as Debian 12's.
    """
    flags = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    packages = [find_spec(name) for name in ("gateway", "translators")]
    folders = [Path(folder) for each in packages if each for folder in each.submodule_search_locations or []]
    return {
        "version": platform.python_version(),
        "implementation": platform.python_implementation(),
        "compiler": platform.python_compiler(),
        "built": " ".join(platform.python_build()),
        "optimised": [flag for flag in ("--enable-optimizations", "--with-lto") if flag in flags],
        "compiled_modules": sum(len(list(folder.rglob("*.so"))) for folder in folders),
    }


def commit() -> str:
    """Of this checkout; `-dirty` behind it where files have changed."""
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=ROOT, capture_output=True, text=True
    )
    return told.stdout.strip() or "unknown"


def keep(told: dict[str, Any]) -> Path:
    """Written to results/<commit>.json, and, if all of the table was measured, to results/latest.json."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(told, indent=1, ensure_ascii=False) + "\n"
    path = RESULTS / f"{told['commit']}.json"
    path.write_text(text)
    if told["how"] == "full":
        LATEST.write_text(text)
    return path
