"""Verdicts, the table's lines, and the charts."""

import xml.etree.ElementTree
from dataclasses import replace
from typing import Any

import pytest

from bench.charts import charts, costs
from bench.rows import Row, joined
from bench.table import line, results, verdict


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (Row("w", [6.0], "×", at_most=6), "met"),
        (Row("w", [9.0], "×", at_most=6), "short by 50 %"),
        (Row("w", [80.0], "×", at_least=80), "met"),
        (Row("w", [60.0], "×", at_least=80), "short by 25 %"),
        (Row("w", (), "×", at_least=80), "not measured"),
    ],
)
def test_a_verdict_says_by_how_much(row: Row, said: str) -> None:
    assert verdict(row) == said
    assert said in line(row)


def test_a_row_that_falls_short_says_why() -> None:
    short, met = (Row("w", [figure], "×", at_most=6, why="for this reason") for figure in (9.0, 5.0))
    assert "for this reason" in line(short)
    assert "for this reason" not in line(met)


def test_a_row_is_what_all_rounds_have_of_it() -> None:
    first = Row("w", [5.0, 7.0, 7.0], "×", at_most=6, us={"headgate": 90.0}, others=0.0)
    second = Row("w", [5.0, 5.5], "×", at_most=6, us={"headgate": 100.0}, store_us={"headgate": 80.0}, others=0.5)
    whole = joined([replace(first, store_us={"headgate": 70.0}), second])
    assert (whole.figure, whole.met) == (5.5, True)
    assert "headgate 95 µs + 75 µs of its store; noisy: others took 25 % of a core" in line(whole)


def test_what_must_never_be_counts_where_it_was_once() -> None:
    never, once = (
        joined([Row("w", [silent], "", at_most=0, counts="worst") for silent in runs]) for runs in ([0, 0], [0, 1])
    )
    assert (never.met, once.met) == (True, False)
    assert verdict(once) == "short"


def test_of_a_time_by_itself_the_quiet_tenth_counts() -> None:
    busy = Row("w", [0.9, 0.4, 1.2, 0.44, 0.8], "ms", at_most=0.5, counts="quiet")
    assert busy.figure == pytest.approx(0.416) and busy.met
    assert "median 0.8" in line(busy)
    assert Row("w", [0.9], "ms", at_most=0.5, counts="quiet").figure == 0.9


def measured(work: str, **us: float) -> Row:
    return Row(work, [1.0], "×", us=us)


ROWS = [
    measured("unary, OpenAI to openai, 16 at once", headgate=105.0, nginx=18.0),
    measured("unary, OpenAI to gemini, 16 at once", headgate=140.0, nginx=17.0),
    measured("unary, OpenAI to openai, 64 at once", headgate=99.0, nginx=18.0),
    measured("stream of 64 paced events, OpenAI to openai, 64 at once", headgate=1200.0, nginx=850.0),
    measured("beside litellm 1.0: unary, 16 at once", litellm=9500.0, headgate=105.0),
    Row("memory of an idle worker", [80.0], "MB", at_most=90),
]


def test_the_charts_show_each_gateway_once() -> None:
    told: dict[str, Any] = results(ROWS, "full", 0.0, {}, [])
    assert list(costs(told, streamed=False)) == ["nginx", "headgate → openai", "headgate → gemini", "litellm"]
    assert costs(told, streamed=False)["headgate → openai"] == 105.0
    assert list(costs(told, streamed=True)) == ["nginx", "headgate → openai"]
    for text in charts(told).values():
        drawing = xml.etree.ElementTree.fromstring(text)
        widths = [float(bar.get("width", "0")) for bar in drawing.iter("{http://www.w3.org/2000/svg}rect")]
        assert widths == sorted(widths) and widths[0] > 0


def test_the_results_say_what_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "sysconfig.get_config_var", lambda _: "'--prefix=/usr' '--enable-optimizations' '--with-lto=thin'"
    )
    told = results(ROWS, "full", 0.0, {"nginx": "1.22.1"}, [{"1 MB": 12.0}])
    assert told["python"]["version"].startswith("3.")
    assert told["machine"]["memory_ns"] == [{"1 MB": 12.0}]
    assert told["python"]["optimised"] == ["--enable-optimizations", "--with-lto"]
    assert "/usr" not in str(told["python"])  # the results are committed: no path of the machine
    assert isinstance(told["python"]["compiled_modules"], int)
