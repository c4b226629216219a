"""What endpoints share is one value that nobody changes."""

import dataclasses

import pytest

from gateway.gateway import Gateway


def test_it_cannot_be_changed() -> None:
    made = Gateway(**{field.name: None for field in dataclasses.fields(Gateway)})  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.admin_digest = "another"  # type: ignore[misc]
