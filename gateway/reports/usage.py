"""The usage report: a fold over what was spent, and what is held right now."""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from gateway.admin.answers import iso
from gateway.admin.records import named
from gateway.ledger.store import Entry, Kind, Live, Record, Store
from gateway.ledger.windows import TOTAL
from gateway.reports.report_forms import EntryAnswer, GroupAnswer, Selection, UsageAnswer, UsageQuery
from gateway.reports.spending import FOREVER_S, Item, approximate_days, day_of, items
from gateway.virtual_keys import usd

Value = str | None
Group = tuple[tuple[str, Value], ...]  # field and value


@dataclass(slots=True)
class Sum:
    """What several entries come to."""

    cost_nanousd: int = 0
    requests: int = 0
    tokens: Counter[str] = field(default_factory=Counter)

    def add(self, item: Item) -> None:
        self.cost_nanousd += item.cost_nanousd
        self.requests += item.requests
        for name, amount in item.usage.items():
            self.tokens[name] += amount


class Matches:
    """Whether something is of the selection. An alias that nobody has now is looked for in the entries."""

    def __init__(self, selection: Selection, key: Record | None) -> None:
        self._selection = selection
        self._key = key

    def bill(self, fields: Mapping[str, Any]) -> bool:
        """By the fields of a bill."""
        asked = self._selection
        if asked.key_alias is not None:
            same = fields["key_alias"] == asked.key_alias if self._key is None else fields["key_id"] == self._key.id
            if not same:
                return False
        return (
            asked.key_id in (None, fields["key_id"])
            and asked.team_id in (None, fields["team_id"])
            and asked.model in (None, fields["model"])
            and asked.end_user in (None, fields.get("end_user"))
            and (asked.tag is None or asked.tag in fields.get("tags", ()))
        )

    def hold(self, live: Live) -> bool:
        """By what it counts against; model, end user and tag by what is written of the request."""
        asked = self._selection
        alias = asked.key_alias
        if alias is not None and (self._key is None or not _counts(live, "key", self._key.id)):
            return False
        return (
            (asked.key_id is None or _counts(live, "key", asked.key_id))
            and (asked.team_id is None or _counts(live, "team", asked.team_id))
            and asked.model in (None, live.bill.get("model"))
            and asked.end_user in (None, live.bill.get("end_user"))
            and (asked.tag is None or asked.tag in live.bill.get("tags", ()))
        )


def _counts(live: Live, kind: str, id: str) -> bool:
    return f"{kind}:{id}|{TOTAL}" in live.counters


async def matching(store: Store, selection: Selection) -> Matches:
    """The selection, ready to be asked."""
    kinds: tuple[tuple[Kind, str | None], ...] = (("team", selection.team_id), ("key", selection.key_id))
    for kind, given in kinds:
        if given is not None and (record := await named(store, kind, given)) is not None:
            selection = selection.model_copy(update={f"{kind}_id": record.id})
    return Matches(selection, None if selection.key_alias is None else await store.find("key", selection.key_alias))


async def report(store: Store, now_s: float, _id: str, query: UsageQuery) -> UsageAnswer:
    """The sums over every entry that `query` matches, its groups by their fields, the newest entries first."""
    matches = await matching(store, query)
    total, groups = Sum(), dict[Group, Sum]()
    newest: deque[Entry] = deque(maxlen=query.limit)  # entries come in order of time
    end_s = FOREVER_S if query.end is None else query.end
    async for item in items(store, query.start, end_s, now_s):
        if matches.bill(item.fields):
            total.add(item)
            if item.entry is not None:
                newest.appendleft(item.entry)
            for group in groups_of(item, query.by):
                groups.setdefault(group, Sum()).add(item)
    aliases = await aliases_of(store, groups)
    return UsageAnswer(
        spend_usd=usd(total.cost_nanousd),
        held_usd=usd(sum(live.nanousd for live in await store.holds() if matches.hold(live))),
        requests=total.requests,
        tokens=dict(total.tokens),
        groups=[_shown(group, groups[group], aliases) for group in sorted(groups, key=rank)],
        entries=[_entry(entry) for entry in newest],
        approximate_days=await approximate_days(store, query.start, end_s),
    )


async def grouped(store: Store, now_s: float, selection: Selection) -> dict[Group, Sum]:
    """What `selection` comes to by its fields, in their order."""
    matches, groups = await matching(store, selection), dict[Group, Sum]()
    end_s = FOREVER_S if selection.end is None else selection.end
    async for item in items(store, selection.start, end_s, now_s):
        if matches.bill(item.fields):
            for group in groups_of(item, selection.by):
                groups.setdefault(group, Sum()).add(item)
    return {group: groups[group] for group in sorted(groups, key=rank)}


def groups_of(item: Item, by: Sequence[str]) -> Iterator[Group]:
    """The groups that an item belongs to: with `tag` among them one for each tag, without `by` none."""
    if by:
        names = [FIELDS[name][0] for name in by]
        for values in product(*(FIELDS[name][1](item) for name in by)):
            yield tuple(zip(names, values, strict=True))


def _named(name: str) -> tuple[str, Callable[[Item], Sequence[Value]]]:
    return name, lambda item: (item.fields.get(name),)


# what may stand in `by`: the name of its field, and the values that an item has for it
FIELDS: Mapping[str, tuple[str, Callable[[Item], Sequence[Value]]]] = {
    "key": _named("key_id"),
    "team": _named("team_id"),
    "user": _named("end_user"),
    "tag": ("tag", lambda item: item.fields.get("tags") or (None,)),
    "model": _named("model"),
    "provider": ("provider", lambda item: (item.fields["target"].partition("/")[0],)),
    "target": _named("target"),
    "ending": _named("ending"),
    "hour": ("hour", lambda item: (day_of(item.at_s) if item.entry is None else f"{iso(item.at_s)[:13]}:00Z",)),
    "day": ("day", lambda item: (day_of(item.at_s),)),
    "month": ("month", lambda item: (day_of(item.at_s)[:7],)),
}


def rank(group: Group) -> list[str]:
    """The order of groups."""
    return [value or "" for _, value in group]


async def aliases_of(store: Store, groups: Mapping[Group, Sum]) -> dict[str, str | None]:
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
    own |= {"end_user": bill.get("end_user"), "tags": list(bill.get("tags", ())), "adjusts": bill.get("adjusts", False)}
    costs = {"cost_usd": usd(bill["cost_nanousd"]), "overrun_usd": usd(entry.overrun_nanousd)}
    return EntryAnswer.model_validate(own | costs | {"at": iso(entry.at_s), "tokens": dict(bill["usage"])})
