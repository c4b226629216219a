"""The values that translators take."""

import pytest

from translators.exchange import Context, Endpoint


def test_an_endpoint_does_not_show_its_key() -> None:
    assert "sk-secret" not in repr(Endpoint("openai", "https://x", "sk-secret", "small"))


def test_what_contexts_share_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        Context().tool_names["a"] = "b"  # type: ignore[index]
