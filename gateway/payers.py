"""Whose caps and limits a request counts against: its key, team and organisation, its end user and its tags.

What a worker believes of them costs no look into the store: the reserve checks the version of each, 0 standing for a
record that is not there, and only when it says "stale" are they read again.
"""

import time
from collections.abc import Iterable, Sequence

from gateway.bounded import keep
from gateway.ledger.parties import Parties, Party
from gateway.ledger.store import EVERYONE, ORG, Holder, Kind, Record, Standing, Store
from translators.errors import LLMError
from translators.exchange import Json

MAX_NAME = 256  # characters of an end user's name
MAX_TAGS = 16
MAX_TAG = 64  # characters
MAX_PARTIES = 5_000  # that a worker keeps worked out
MAX_KNOWN = 20_000  # records, and confirmations of them, that a worker keeps in mind
CONFIRM_S = 1.0  # how often it is noted, of one kind of request, that the store knows who pays as this worker does
TAGS = b"x-headgate-tags"
NAMING = frozenset({"safety_identifier", "user"})

Place = tuple[Kind, str]


class Payers:
    """Finds them, from what this worker has read."""

    def __init__(self, store: Store, offline_key_s: float) -> None:
        self._store = store
        self._offline_key_s = offline_key_s
        self._records: dict[Place, Record] = {}
        self._confirmed: dict[Standing, float] = {}
        self._parties: dict[tuple[str, str | None, tuple[str, ...]], tuple[Holder, Parties]] = {}

    def of(self, holder: Holder, end_user: str | None, tags: tuple[str, ...]) -> Parties:
        """Those of a request, as far as this worker knows."""
        name = (holder.key_id, end_user, tags)
        known = self._parties.get(name)
        if known is None or known[0] is not holder:
            if len(self._parties) >= MAX_PARTIES:  # callers choose the names of end users
                self._parties.clear()
            known = self._parties[name] = holder, self._found(holder, end_user, tags)
        return known[1]

    def _found(self, holder: Holder, end_user: str | None, tags: Sequence[str]) -> Parties:
        standings = [_standing(record) for record in holder.records]
        parties = [Party(f"{record.kind}:{record.id}", record) for record in holder.records]
        places: list[Place] = [("org", ORG)]
        if end_user is not None:
            places.append(("user", end_user))
        places += [("tag", tag) for tag in tags]
        for kind, id in places:
            record = self._records.get((kind, id))
            standings.append(Standing(kind, id, record.version if record else 0))
            if (record is None or record.revoked) and kind != "org":
                record = self._records.get((kind, EVERYONE))
                standings.append(Standing(kind, EVERYONE, record.version if record else 0))
            if record is not None and not record.revoked:
                parties.append(Party(f"{kind}:{id}", record))
        return Parties(tuple(parties), tuple(dict.fromkeys(standings)))

    async def reread(self, holder: Holder, end_user: str | None, tags: Sequence[str]) -> Parties:
        """Those of a request, from the store. Raises StoreDown."""
        places: list[Place] = [("org", ORG)]
        if end_user is not None:
            places += [("user", end_user), ("user", EVERYONE)]
        if tags:
            places += [*(("tag", tag) for tag in tags), ("tag", EVERYONE)]
        for place in places:
            record = await self._store.get(*place)
            if record is None:
                self._records.pop(place, None)
            else:
                keep(self._records, place, record, MAX_KNOWN)
        self._parties.clear()  # others may pay by these records too
        return self.of(holder, end_user, tuple(tags))

    def confirm(self, parties: Parties) -> None:
        """The store has just said that these records are as they are."""
        if self._offline_key_s and (now := time.monotonic()) >= parties.confirm_at_s:
            parties.confirm_at_s = now + min(CONFIRM_S, self._offline_key_s / 10)
            for standing in parties.standings:
                keep(self._confirmed, standing, now, MAX_KNOWN)

    def doubt(self, parties: Parties) -> None:
        """The store has just said that one of these is not as this worker knows it: the key is not trusted."""
        for standing in parties.standings:
            if standing.kind == "key":  # the others may be of other keys too
                self._confirmed.pop(standing, None)

    def trusts(self, parties: Parties) -> bool:
        """Whether the store has confirmed all of these within `offline_key_s`, so that it is not needed now."""
        since = time.monotonic() - self._offline_key_s
        return all(self._confirmed.get(standing, -1.0) >= since for standing in parties.standings)


def _standing(record: Record) -> Standing:
    return Standing(record.kind, record.id, record.version)


def end_user_of(chat: Json) -> str | None:
    """Whom the caller says the request is for: `safety_identifier`, or else `user`, which it replaces (openai 3.52).

    Raises LLMError where it is too long to be a name.
    """
    if NAMING.isdisjoint(chat):
        return None
    for field in ("safety_identifier", "user"):
        name = chat.get(field)
        if isinstance(name, str) and name:
            if len(name) > MAX_NAME:
                raise LLMError("invalid_request", f"`{field}` is longer than {MAX_NAME} characters", param=field)
            return name
    return None


def tags_of(headers: Iterable[tuple[bytes, bytes]], key: Record) -> tuple[str, ...]:
    """The key's own tags, and those of the header `x-headgate-tags` (with commas between). Raises LLMError."""
    given = b",".join(value for name, value in headers if name == TAGS)
    if not given:
        return key.tags
    try:
        text = given.decode()
    except UnicodeDecodeError:
        text = given.decode("latin-1")  # what HTTP's headers are by the book
    named = [tag for word in text.split(",") if (tag := word.strip())]
    tags = tuple(dict.fromkeys((*key.tags, *named)))
    if len(named) > MAX_TAGS or any(len(tag) > MAX_TAG or not tag.isprintable() for tag in named):
        message = f"`x-headgate-tags` takes up to {MAX_TAGS} tags of up to {MAX_TAG} characters each"
        raise LLMError("invalid_request", message, param="x-headgate-tags")
    return tags
