"""What the tests of the command line share: somebody who spends behind its back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.ledger.opening import open_store
from tests.gateway.desk import Desk, desk_over

Run = Callable[..., dict[str, Any]]


def spend_on(data: Path, token: str, nanousd: int) -> None:
    """As the gateway would."""
    with desk_over(open_store(None, str(data), "")) as desk:
        Desk.spend(desk, token, nanousd, usage={"input_tokens": 3})
