"""The anthropic SDK's own types as the judge of a request's body."""

from typing import Any

from anthropic.types import message_create_params
from pydantic import BaseModel, TypeAdapter

# Gone from the types of anthropic 2.11, for new models refuse them; taken by the older ones (recorded, 200).
_SAMPLING = {"temperature", "top_p", "top_k"}
_PARAMS: TypeAdapter[Any] = TypeAdapter(message_create_params.MessageCreateParams)


def assert_valid(body: dict[str, Any]) -> None:
    """Every key and value of `body` is one that the SDK knows: pydantic leaves out the others."""
    typed = {name: value for name, value in body.items() if name not in _SAMPLING}
    assert _drained(_PARAMS.validate_python(typed)) == typed


def _drained(value: Any) -> Any:
    """Plain values: pydantic checks the items of an Iterable only as they are read."""
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_unset=True)
    if isinstance(value, dict):
        return {name: _drained(inner) for name, inner in value.items()}
    if value is None or isinstance(value, str | bytes | int | float):
        return value
    return [_drained(item) for item in value]
