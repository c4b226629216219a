"""What must be true after a phase of chaos: the keys' books, the journal and the upstream's counts, held together."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

import httpx

from tests.chaos.clients import Outcome
from tests.chaos.processes import CountingUpstream, Gateway
from tests.chaos.upstream import Count, Order, order_of

INPUT_NANOUSD = 1_000  # a token: 1 USD per million
OUTPUT_NANOUSD = 10_000
SETTLE_S = 45.0  # for all that has to come to rest after a phase: leases, the reaper, the spool
PROMPT_SLACK = 8  # tokens by which an estimated prompt may be off
TOKEN_SLACK = 0.1  # and the part of the generated tokens, since they are counted from their text
ENVELOPE_TOKENS = 40  # of a broken answer that is not streamed: its JSON is counted with its text
FIRST_EVENTS = 1  # of a stream, before its first token


def due(count: Count) -> int:
    """What the upstream would bill, in nano-USD."""
    return count.prompt_tokens * INPUT_NANOUSD + count.generated * OUTPUT_NANOUSD


def nanousd(usd: str) -> int:
    return int(Decimal(usd) * 10**9)


class Key(NamedTuple):
    """A virtual key of one phase."""

    id: str
    token: str
    cap_nanousd: int | None


@dataclass
class Figures:
    """What a phase came to. All but `asked`, `answered`, the estimates and the times must be 0 or empty."""

    phase: str
    affordable: int = 0  # answers that the budget has room for; 0: that is not the question
    asked: int = 0
    answered: int = 0
    overspend: int = 0  # nano-USD
    unbilled: int = 0
    overbilled: int = 0
    estimates: int = 0  # bills
    under: int = 0  # nano-USD by which they are below what the upstream counted
    over: int = 0
    bound: int = 0  # the most that they could have been off, by how long nobody could see
    lost: int = 0
    leaked: int = 0
    audit: str = "-"
    cancels_ms: list[int] = field(default_factory=list)  # what the upstream took to hear of each hang-up
    waits_s: list[float] = field(default_factory=list)  # what clients waited for while the store was away
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)

    def expect(self, holds: bool, otherwise: str) -> None:
        """Note what is wrong, if it is."""
        if not holds:
            self.faults.append(otherwise)

    @property
    def sound(self) -> bool:
        wrong = (self.overspend, self.unbilled, self.overbilled, self.lost, self.leaked, self.faults)
        return not any(wrong) and self.audit != "not clean"


@dataclass(frozen=True)
class Evidence:
    """All that is known of a phase, read when it has come to rest."""

    keys: Sequence[Key]
    outcomes: Sequence[Outcome]
    counts: Sequence[Count]
    entries: Sequence[Mapping[str, Any]]
    answers: Mapping[str, Mapping[str, Any]]  # the admin API's, by key


class Case(NamedTuple):
    """One request: what the upstream did for it, and what was booked for it."""

    counts: tuple[Count, ...]
    outcome: Outcome | None
    entries: tuple[Mapping[str, Any], ...]

    @property
    def order(self) -> Order:
        return order_of(self.counts[0].model)

    @property
    def billed(self) -> int:
        return sum(nanousd(entry["cost_usd"]) for entry in self.entries)

    @property
    def unanswered(self) -> bool:
        """Whether the upstream failed before its first word, so that nobody can tell what it will bill."""
        streamed = self.outcome is not None and self.outcome.call.stream
        silent = self.order.at == 0 or not streamed
        return self.order.fault in ("early", "late") or (self.order.fault in ("cut", "reset", "silent") and silent)

    @property
    def estimated(self) -> bool:
        """Whether the last word on it is an estimate: a provisional bill may have been put right since."""
        last = [entry for entry in self.entries if entry["adjusts"]] or self.entries
        return any(entry["estimated"] for entry in last) or self.unanswered

    def bound(self, unsaved_s: float) -> int:
        """By how much an estimate may be off, in nano-USD. What the client was told of, the gateway had seen, and saved
        but for its last `unsaved_s`; of the rest nobody can say.
        """
        tokens, prompt = 0.0, PROMPT_SLACK
        streamed = self.outcome is not None and self.outcome.call.stream
        told = self.outcome.events - FIRST_EVENTS if self.outcome is not None and streamed else 0
        for count in self.counts:
            seen = max(0.0, min(told, count.generated) - unsaved_s * 1000 / self.order.pace_ms)
            tokens += count.generated - seen + TOKEN_SLACK * seen
            prompt += 0 if seen else count.prompt_tokens
            tokens += ENVELOPE_TOKENS if self.order.fault == "cut" and not streamed else 0
        return round(tokens * OUTPUT_NANOUSD) + prompt * INPUT_NANOUSD


def cases(found: Evidence) -> list[Case]:
    """The upstream's counts by the request that they were for: the answer's id tells it, else a model of its own."""
    entries: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    ids_of_model: dict[str, list[str]] = defaultdict(list)
    for entry in found.entries:
        entries[entry["request_id"]].append(entry)
        if entry["request_id"] not in ids_of_model[entry["model"]]:
            ids_of_model[entry["model"]].append(entry["request_id"])
    told = {outcome.answer_id: outcome for outcome in found.outcomes if outcome.answer_id}
    asked: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in found.outcomes:
        asked[outcome.call.order.model].append(outcome)
    grouped: dict[str, list[Count]] = defaultdict(list)
    outcomes: dict[str, Outcome | None] = {}
    for count in found.counts:
        outcome = told.get(count.answer_id) or _only(asked[count.model])
        id = (outcome.request_id if outcome else "") or _only(ids_of_model[count.model]) or f"? {count.answer_id}"
        grouped[id].append(count)
        outcomes[id] = outcome
    return [Case(tuple(counts), outcomes[id], tuple(entries[id])) for id, counts in grouped.items()]


def _only(found: Sequence[Any]) -> Any:
    return found[0] if len(found) == 1 else None


class Books:
    """Reads what a phase has left, once it has come to rest."""

    def __init__(self, gateway: Gateway, upstream: CountingUpstream) -> None:
        self._gateway = gateway
        self._upstream = upstream

    async def judged(
        self, figures: Figures, keys: Sequence[Key], outcomes: Sequence[Outcome], *, unsaved_s: float = 0.0
    ) -> Figures:
        """`figures` with all that can be told from the books."""
        found = await self._at_rest(keys, outcomes)
        figures.asked += len(outcomes)
        figures.answered += sum(outcome.in_full for outcome in outcomes)
        _judge_keys(figures, found)
        _judge_bills(figures, found, unsaved_s)
        figures.audit = await self.audit(figures)
        return figures

    async def audit(self, figures: Figures) -> str:
        """What `headgate audit` says."""
        try:
            told = await self._gateway.admin("GET", "audit")
        except httpx.HTTPStatusError as error:
            return f"{error.response.status_code}"
        if not told["clean"]:
            figures.faults += [f"audit: {finding}" for finding in told["findings"]]
        return "clean" if told["clean"] else "not clean"

    async def _at_rest(self, keys: Sequence[Key], outcomes: Sequence[Outcome]) -> Evidence:
        models = {outcome.call.order.model for outcome in outcomes}
        end = time.monotonic() + SETTLE_S
        while True:
            late = time.monotonic() > end
            try:
                found = await self._read(keys, outcomes, models)
            except httpx.HTTPError:  # the store is on its way back
                if late:
                    raise
            else:
                if late or _quiet(found):
                    return found
            await asyncio.sleep(0.2)

    async def _read(self, keys: Sequence[Key], outcomes: Sequence[Outcome], models: Iterable[str]) -> Evidence:
        wanted = set(models)
        counts = [count for count in await asyncio.to_thread(self._upstream.counts) if count.model in wanted]
        answers = {key.id: await self._gateway.admin("GET", f"keys/{key.id}") for key in keys}
        entries: list[Mapping[str, Any]] = []
        for key in keys:
            entries += (await self._gateway.admin("GET", "usage", key_id=key.id, limit="10000"))["entries"]
        return Evidence(keys, outcomes, counts, entries, answers)


def _quiet(found: Evidence) -> bool:
    running = any(not count.ended_s for count in found.counts)
    held = any(nanousd(answer["held_usd"]) for answer in found.answers.values())
    booked = _booked(found)  # read a moment after the counters: a bill may have come between
    even = all(nanousd(answer["spend_usd"]) == booked[id] for id, answer in found.answers.items())
    return not running and not held and even and all(case.entries for case in cases(found))


def _booked(found: Evidence) -> dict[str, int]:
    booked: dict[str, int] = defaultdict(int)
    for entry in found.entries:
        booked[entry["key_id"]] += nanousd(entry["cost_usd"])
    return booked


def _judge_keys(figures: Figures, found: Evidence) -> None:
    booked = _booked(found)
    for key in found.keys:
        answer = found.answers[key.id]
        spent = nanousd(answer["spend_usd"])
        if key.cap_nanousd is not None:
            figures.overspend += max(0, spent - key.cap_nanousd)
        figures.leaked += bool(nanousd(answer["held_usd"]))
        figures.expect(spent == booked[key.id], f"counter {spent}, journal {booked[key.id]} nUSD on {key.id}")


def _judge_bills(figures: Figures, found: Evidence, unsaved_s: float) -> None:
    seen: set[str] = set()
    for case in cases(found):
        owed = sum(due(count) for count in case.counts)
        off = case.billed - owed
        if not case.entries:
            figures.lost += 1
            figures.faults.append(f"no entry for {case.counts[0].model}, {owed} nUSD")
            continue
        twice = sum(not entry["adjusts"] for entry in case.entries) - 1
        figures.expect(twice == 0, f"booked {twice + 1} times: {_told(case)}")
        if case.estimated:
            bound = case.bound(unsaved_s)
            figures.estimates += 1
            figures.under += max(0, -off)
            figures.over += max(0, off)
            figures.bound += bound
            figures.expect(abs(off) <= bound, f"estimate off by {off} of {owed} nUSD, bound {bound}: {_told(case)}")
        else:
            figures.unbilled += max(0, -off)
            figures.overbilled += max(0, off)
            figures.expect(off == 0, f"billed {case.billed}, counted {owed} nUSD: {_told(case)}")
        if case.outcome is not None and case.outcome.left_s:
            left_s = case.outcome.left_s
            figures.cancels_ms += [round((count.ended_s - left_s) * 1000) for count in case.counts if count.closed]
        seen |= {entry["request_id"] for entry in case.entries}
    for entry in found.entries:
        strange = entry["request_id"] not in seen and nanousd(entry["cost_usd"])
        figures.expect(
            not strange, f"{entry['model']} is billed {entry['cost_usd']} USD, and the upstream never saw it"
        )


def _told(case: Case) -> str:
    endings = "+".join(entry["ending"] for entry in case.entries)
    how = "" if case.outcome is None else f"{case.outcome.status} {case.outcome.code}".strip()
    tokens = "+".join(str(count.generated) for count in case.counts)
    kind = "" if case.outcome is None or case.outcome.call.stream else ", whole"
    return f"{case.counts[0].model}{kind}, {tokens} tokens, ending {endings}, client {how or 'told nothing'}"
