"""The results as SVG, for docs/performance.md.

Two bar charts of a dozen bars need no plotting library (matplotlib and what it brings are 100 MB); written like this
they are small, the same from one run to the next save for the figures, and can be read in a diff.
"""

import json
import math
from html import escape
from pathlib import Path
from typing import Any

from bench.gateways import ROOT
from bench.table import LATEST

DOCS = ROOT / "docs"
WIDTH, LABEL, BAR, GAP = 760, 250, 22, 8
OURS, THEIRS, INK = "#2f6f9f", "#b8c4cc", "#333"


def charts(told: dict[str, Any]) -> dict[str, str]:
    """The names and texts of the SVG files."""
    whole, streamed = costs(told, streamed=False), costs(told, streamed=True)
    what = f"one worker, {told['machine']['cpu']}, commit {told['commit']}"
    return {
        "performance-unary.svg": bars(f"CPU of one request, logarithmic ({what})", whole, "µs", 1),
        "performance-stream.svg": bars(f"CPU of one stream of 64 events, logarithmic ({what})", streamed, "ms", 1000),
    }


def costs(told: dict[str, Any], streamed: bool) -> dict[str, float]:
    """Microseconds by bar, the cheapest first: OpenAI to OpenAI for all, and our translated ones."""
    found: dict[str, float] = {}
    for row in told["rows"]:
        us = row["us"]
        if ("stream" in row["work"]) != streamed or ("64 at once" in row["work"]) != streamed:
            continue
        for name, cost in us.items():
            if name == "headgate" and "OpenAI to" in row["work"]:
                name = f"headgate → {row['work'].split('OpenAI to ')[1].split(',')[0]}"
            elif name == "headgate" or (name == "nginx" and "to openai" not in row["work"]):
                continue
            found[name] = cost
    return dict(sorted(found.items(), key=lambda bar: bar[1]))


def bars(title: str, values: dict[str, float], unit: str, by: float) -> str:
    """A horizontal bar chart with a logarithmic scale from a power of ten below the least."""
    height = 44 + len(values) * (BAR + GAP)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"',
        ' style="background: #fff" font-family="sans-serif" font-size="13">',
        f'<text x="8" y="20" fill="{INK}" font-size="14">{escape(title)}</text>',
    ]
    if values:
        least = 10 ** math.floor(math.log10(min(values.values())) - 0.3)
        span = math.log10(max(values.values()) / least)
        for at, (name, value) in enumerate(values.items()):
            y = 36 + at * (BAR + GAP)
            width = (WIDTH - LABEL - 90) * math.log10(value / least) / span
            colour = OURS if name.startswith(("headgate", "embedded")) else THEIRS
            out += [
                f'<text x="{LABEL - 8}" y="{y + 16}" fill="{INK}" text-anchor="end">{escape(name)}</text>',
                f'<rect x="{LABEL}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{colour}"/>',
                f'<text x="{LABEL + width + 6:.1f}" y="{y + 16}" fill="{INK}">{value / by:.3g} {unit}</text>',
            ]
    return "\n".join([*out, "</svg>", ""])


def draw() -> list[Path]:
    """Draws results/latest.json into docs/."""
    drawn = []
    for name, text in charts(json.loads(LATEST.read_text())).items():
        (DOCS / name).write_text(text)
        drawn.append(DOCS / name)
    return drawn
