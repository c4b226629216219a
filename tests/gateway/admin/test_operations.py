"""Every operation of the table can be asked without HTTP, as the command line does."""

import asyncio
from pathlib import Path

import pytest

from gateway.admin.operations import OPERATIONS, answer
from gateway.ledger.opening import open_store
from translators.errors import LLMError


def test_an_operation_answers_json_and_leaves_nothing_of_its_own_making_in_it(tmp_path: Path) -> None:
    async def story() -> None:
        store = open_store(None, str(tmp_path / "ledger.db"), "")
        await store.open()
        made = await answer(OPERATIONS["create_key"], store, 60.0, "", {"max_budget": "0.1"})
        rotated = await answer(OPERATIONS["rotate_key"], store, 60.0, made["id"], {})
        assert made["max_budget"] == rotated["max_budget"] == "0.1"
        assert made["created_at"] == "1970-01-01T00:01:00Z"
        usage = await answer(OPERATIONS["usage"], store, 60.0, "", {"by": "key"})
        assert (usage["spend_usd"], usage["requests"], usage["groups"], usage["entries"]) == ("0", 0, [], [])
        with pytest.raises(LLMError) as refused:
            await answer(OPERATIONS["show_key"], store, 60.0, made["id"], {"verbose": "1"})
        assert refused.value.status == 422
        await store.close()

    asyncio.run(story())


def test_every_operation_says_what_it_does() -> None:
    assert [name for name, operation in OPERATIONS.items() if not operation.about.endswith(".")] == []


def test_what_changes_something_is_never_a_get() -> None:
    methods = {"create": "POST", "rotate": "POST", "change": "PATCH", "revoke": "DELETE"}
    for name, operation in OPERATIONS.items():
        assert operation.method == methods.get(name.partition("_")[0], "GET")
