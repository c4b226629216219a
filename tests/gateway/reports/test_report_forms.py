"""What a report may be asked for is what it can answer."""

from typing import get_args

import pytest

from gateway.admin.forms import read
from gateway.reports.report_forms import BY, By, ExportQuery, GroupAnswer, UsageQuery
from gateway.reports.usage import FIELDS
from translators.errors import LLMError


def test_everything_that_may_stand_in_by_has_a_field_of_the_answer() -> None:
    assert set(FIELDS) == set(BY) == set(get_args(By))
    assert {field for field, _ in FIELDS.values()} <= set(GroupAnswer.model_fields)


def test_by_is_a_list_with_commas_between() -> None:
    assert read(UsageQuery, {"by": "key,tag,month"}).by == ["key", "tag", "month"]
    assert read(UsageQuery, {}).by == []
    with pytest.raises(LLMError, match="one or several of key, team, user, tag"):
        read(UsageQuery, {"by": "key tag"})


@pytest.mark.parametrize("form", [UsageQuery, ExportQuery])
def test_an_interval_goes_forward(form: type[UsageQuery] | type[ExportQuery]) -> None:
    same = read(form, {"from": "2026-11-20", "to": "2026-11-20"})
    assert same.start == same.end
    with pytest.raises(LLMError, match="must not be after"):
        read(form, {"from": "2026-11-21", "to": "2026-11-20"})


def test_an_export_has_a_format_and_no_limit() -> None:
    assert read(ExportQuery, {}).format == "csv"
    with pytest.raises(LLMError):
        read(ExportQuery, {"format": "parquet"})
    with pytest.raises(LLMError, match="`limit` is not known"):
        read(ExportQuery, {"limit": "1"})
