"""The usage report: a fold over the journal, and what is held right now."""

from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.admin_answers import EntryAnswer, GroupAnswer, UsageAnswer, iso
from gateway.admin_forms import UsageQuery
from gateway.ledger.store import Entry, Record, Store
from gateway.ledger.windows import TOTAL
from gateway.virtual_keys import usd

FOREVER_S = 253_402_300_800.0  # the year 10000
PAGE = 1000  # entries or records read at once

Group = tuple[tuple[str, str | None], ...]  # field and value


@dataclass(slots=True)
class Sum:
    """What several entries come to."""

    cost_nanousd: int = 0
    requests: int = 0
    tokens: Counter[str] = field(default_factory=Counter)

    def add(self, bill: Mapping[str, Any]) -> None:
        self.cost_nanousd += bill["cost_nanousd"]
        self.requests += 1
        self.tokens.update(bill["usage"])


async def report(store: Store, _now_s: float, _id: str, query: UsageQuery) -> UsageAnswer:
    """The sums over every entry that `query` matches, its groups by their fields, the newest entries first."""
    key = None if query.key_alias is None else await store.find("key", query.key_alias)
    total, groups = Sum(), dict[Group, Sum]()
    newest: deque[Entry] = deque(maxlen=query.limit)
    async for entry in _entries(store, query):
        if not _matches(entry.bill, query, key):
            continue
        total.add(entry.bill)
        newest.appendleft(entry)
        if query.by:
            groups.setdefault(_group(entry, query), Sum()).add(entry.bill)
    aliases = await _aliases(store, groups)
    return UsageAnswer(
        spend_usd=usd(total.cost_nanousd),
        held_usd=usd(await _held(store, query, key)),
        requests=total.requests,
        tokens=dict(total.tokens),
        groups=[_shown(group, groups[group], aliases) for group in sorted(groups, key=_rank)],
        entries=[_entry(entry) for entry in newest],
    )


async def _entries(store: Store, query: UsageQuery) -> AsyncIterator[Entry]:
    after, end_s = "", FOREVER_S if query.end is None else query.end
    while page := await store.journal(query.start, end_s, after, PAGE):
        for entry in page:
            yield entry
        after = page[-1].id


def _matches(bill: Mapping[str, Any], query: UsageQuery, key: Record | None) -> bool:
    """`key` is who has the alias that is asked for; an alias that nobody has now is looked for in the entries."""
    if query.key_alias is not None:
        same = bill["key_alias"] == query.key_alias if key is None else bill["key_id"] == key.id
        if not same:
            return False
    return (
        query.key_id in (None, bill["key_id"])
        and query.team_id in (None, bill["team_id"])
        and query.model in (None, bill["model"])
    )


def _group(entry: Entry, query: UsageQuery) -> Group:
    bill = entry.bill
    values = {
        "key": ("key_id", bill["key_id"]),
        "team": ("team_id", bill["team_id"]),
        "model": ("model", bill["model"]),
        "day": ("day", iso(entry.at_s)[:10]),
        "provider": ("provider", bill["target"].partition("/")[0]),
    }
    return tuple(values[name] for name in query.by)


def _rank(group: Group) -> list[str]:
    return [value or "" for _, value in group]


async def _aliases(store: Store, groups: Mapping[Group, Sum]) -> dict[str, str | None]:
    """What the keys of these groups are called today."""
    ids = {value for group in groups for name, value in group if name == "key_id" and value is not None}
    records = [await store.get("key", id) for id in ids]
    return {record.id: record.alias for record in records if record is not None}


def _shown(group: Group, sum: Sum, aliases: Mapping[str, str | None]) -> GroupAnswer:
    fields = dict(group)
    if (id := fields.get("key_id")) is not None:
        fields["key_alias"] = aliases.get(id)
    return GroupAnswer.model_validate(
        fields | {"spend_usd": usd(sum.cost_nanousd), "requests": sum.requests, "tokens": dict(sum.tokens)}
    )


def _entry(entry: Entry) -> EntryAnswer:
    bill = entry.bill
    own = {name: bill[name] for name in EntryAnswer.model_fields if name in bill}
    return EntryAnswer.model_validate(
        own | {"at": iso(entry.at_s), "cost_usd": usd(bill["cost_nanousd"]), "tokens": dict(bill["usage"])}
    )


async def _held(store: Store, query: UsageQuery, key: Record | None) -> int:
    """Nano-USD held now on the keys that match; interval and model do not narrow it, since holds know neither."""
    if query.key_alias is None and query.key_id is None:
        return await _held_on(store, [f"team:{query.team_id}"]) if query.team_id else await _held_by_all(store)
    if query.key_alias is None and query.key_id is not None:
        key = await store.get("key", query.key_id)
    matches = key is not None and query.key_id in (None, key.id) and query.team_id in (None, key.team_id)
    return await _held_on(store, [f"key:{key.id}"]) if key is not None and matches else 0


async def _held_by_all(store: Store) -> int:
    held, after = 0, ""
    while page := await store.list("key", after, PAGE):
        held += await _held_on(store, [f"key:{record.id}" for record in page])
        after = page[-1].id
    return held


async def _held_on(store: Store, scopes: list[str]) -> int:
    balances = await store.balances(scopes)
    return sum(balance.held_nanousd for balance in balances if balance.window == TOTAL)
