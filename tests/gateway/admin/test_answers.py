"""Moments are shown in UTC, and as exactly as they are kept."""

import pytest

from gateway.admin.answers import iso


@pytest.mark.parametrize(
    ("at_s", "shown"),
    [
        (0.0, "1970-01-01T00:00:00Z"),
        (1_795_132_800.0, "2026-11-20T00:00:00Z"),
        (1_795_132_799.9996, "2026-11-20T00:00:00Z"),
        (1_795_132_800.25, "2026-11-20T00:00:00.250Z"),
        (-1.0, "1969-12-31T23:59:59Z"),
    ],
)
def test_moments_are_iso_in_utc(at_s: float, shown: str) -> None:
    assert iso(at_s) == shown


def test_a_moment_that_no_calendar_has_is_refused() -> None:
    with pytest.raises(ValueError, match="no date"):
        iso(1e15)
