"""What one request has to spend: its hold, taken before it goes out, raised where need be, and what that affords."""

from collections.abc import Sequence
from functools import lru_cache, partial

import orjson

from gateway import ceilings
from gateway.attempts import Course, prepare
from gateway.billing import owed
from gateway.ceilings import Quote
from gateway.gateway import Gateway
from gateway.growth import Growing, can_grow
from gateway.ledger.hold import Ceiling, Hold, Reread, Wish
from gateway.ledger.journal import line
from gateway.ledger.parties import Parties, names_of
from gateway.ledger.store import MAX_NANOUSD, Bill, Refused, StoreDown
from gateway.prices.estimate import prompt_estimate
from translators.errors import LLMError


class Funds:
    """The hold of `course`; `hold` is None until `take` has returned."""

    def __init__(self, gateway: Gateway, course: Course, quotes: Sequence[Quote], reread: Reread) -> None:
        self.hold: Hold | None = None
        self._gateway = gateway
        self._course = course
        self._quotes = quotes
        self._reread = reread
        self._grows = can_grow(course.chat, quotes, gateway.usual)
        self._wish: Wish | None = None
        self._prompt_tokens = 0
        self._known: tuple[int, Ceiling] | None = None  # by how long answers usually are

    async def take(self, parties: Parties) -> Hold:
        """Reserve, and set the limits of the answer that the hold affords. Raises as Ledger.reserve does."""
        gateway, course, quotes = self._gateway, self._course, self._quotes
        model = course.chat["model"]
        self._weigh(parties)
        # a route is no way around a cap on a model: it counts by the target that is asked first as well
        names = names_of(model, course.targets[0].name)
        ceiling = partial(self._ceiling, parties.key_id, model)
        line = _line_of_lost(course, parties)
        self._wish = wish = Wish(
            course.request_id, parties, names, ceiling, self._again, line, partial(prepare, course)
        )
        try:
            self.hold = hold = await gateway.ledger.reserve(wish)
        finally:
            self._wish = None  # which leads back here: a circle would be left to the garbage collector
        if hold.offline:  # nothing is held, since nothing bounds it: its answer may be of any length
            self._grows = False
            return hold
        gateway.payers.confirm(hold.parties)
        course.bytes_per_token = gateway.usual.bytes_per_token(model)  # while it waited, others may have taught it
        afforded = hold.nanousd
        wanted = ceiling(False) if self._grows or self._known is None else self._known[1]
        # with less than is usual there is no time to grow: then the provider is told to keep within what is held
        self._grows = self._grows and wanted.usual <= hold.nanousd < wanted.most
        if self._grows and hold.afford_nanousd is not None:
            afforded = hold.afford_nanousd
        most_tokens = None
        if hold.meters and hold.tokens < wanted.tokens:
            most_tokens = hold.tokens - self._prompt_tokens
        if not self._whole(wanted, afforded) or most_tokens is not None:
            capped = hold.afford_nanousd is not None or hold.capped
            if not gateway.usual.seen(model):
                for quote in quotes:
                    quote.watched = False
            course.limits = ceilings.lengths(quotes, afforded, capped=capped, most_tokens=most_tokens)
        return hold

    def _whole(self, wanted: Ceiling, nanousd: int) -> bool:
        """Whether so much surely covers any answer of a length that was said, as is mostly so."""
        most = wanted.most
        return most <= nanousd and most < MAX_NANOUSD and len(self._quotes) == 1 and self._quotes[0].said

    def _weigh(self, parties: Parties) -> None:
        """Estimate the prompt's tokens where a limit counts them."""
        if parties.counts_tokens and not self._prompt_tokens:
            calls = max([quote.extras.calls for quote in self._quotes])  # each of which reads the prompt
            self._prompt_tokens = prompt_estimate(self._course.chat, self._course.text_alone) * calls
            self._known = None

    async def _again(self) -> Parties:
        """Who pays, as the store has it now, and what follows from that."""
        parties = await self._reread()
        self._weigh(parties)
        if self._wish is not None:
            self._wish.line = _line_of_lost(self._course, parties)
        return parties

    def _ceiling(self, key_id: str, model: str, pressed: bool) -> Ceiling:
        usual_tokens = self._gateway.usual.tokens(key_id, model, bounded=self._grows and not pressed)
        if self._known is None or self._known[0] != usual_tokens:
            found = ceilings.highest(self._course.chat, self._quotes, usual_tokens, self._prompt_tokens)
            self._known = usual_tokens, found
        return self._known[1]

    def growing(self) -> Growing | None:
        """What watches over the stream that has begun, and raises its hold; None where no cap is over it."""
        course, hold = self._course, self.hold
        quote = next(quote for quote in self._quotes if quote.target is course.target)
        if hold is None or not hold.capped or quote.price is None or quote.choices > 1:
            return None
        told = course.limits.get(quote.target.name)
        past = sum(part.nanousd for part in course.past)
        seen = self._grows or (told is None and quote.watched and not quote.free)
        return Growing(self._gateway.ledger, hold, self._again, quote, told, past, course.bytes_per_token, seen=seen)

    async def carry_on(self) -> bool:
        """Whether the hold could be raised by what the failed attempt costs, so that another is covered."""
        part = owed(self._course, "failed")
        if part.nanousd and self.hold is not None:
            try:
                answer = await self._gateway.ledger.grow(self.hold, part.nanousd, part.nanousd, self._again)
            except (StoreDown, LLMError):  # LLMError: the key is gone, or may not use the model any more
                return False
            if isinstance(answer, Refused):
                return False
        self._course.past += (part,)
        return True


def _line_of_lost(course: Course, payers: Parties) -> bytes:
    """What the journal says of a request whose worker died before it could say anything."""
    id = orjson.dumps(course.request_id)
    rest = _rest_of_lost(
        payers.key_id, payers.team_id, payers.key_alias, course.chat["model"], course.end_user, course.tags
    )
    return b'{"request_id":' + id + rest


@lru_cache(maxsize=4096)
def _rest_of_lost(
    key_id: str, team_id: str | None, alias: str | None, model: str, end_user: str | None, tags: tuple[str, ...]
) -> bytes:
    """Behind the request's id, with which a line begins."""
    lost = Bill(
        *("", key_id, team_id, (), 0),
        model=model,
        ending="lost",
        estimated=True,
        key_alias=alias,
        end_user=end_user,
        tags=tags,
    )
    return line(lost).removeprefix(b'{"request_id":""')
