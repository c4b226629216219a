"""What is forgotten first."""

from gateway.bounded import keep


def test_the_oldest_is_forgotten_and_what_is_put_in_again_is_new() -> None:
    kept: dict[str, int] = {}
    for at, key in enumerate("abcad"):
        keep(kept, key, at, 3)
    assert kept == {"c": 2, "a": 3, "d": 4}
