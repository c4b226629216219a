"""The most that a request can cost, for its hold; and how long its answer may be, where the hold is less than that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from gateway.ledger.hold import Ceiling
from gateway.ledger.store import MAX_NANOUSD
from gateway.prices.estimate import (
    CONTEXT_TOKENS,
    input_bound,
    map_search_bound,
    offered,
    prediction_bound,
    search_bound,
    special_rates,
    text_bound,
)
from gateway.prices.pricing import ANYWHERE, PLAIN, Extras, Price, Slope, Unpriced, slope
from gateway.routing import Target
from translators.effort import is_thinking
from translators.errors import LLMError
from translators.exchange import Json
from translators.outcomes import calls
from translators.registry import TRANSLATORS

LIMITS = ("max_completion_tokens", "max_tokens")
LEAST_OUTPUT_TOKENS = 16  # a shorter answer is of no use to anybody
RESEARCHES = 100  # searches of a model that makes them unasked; Perplexity's recorded answer took 54
LONGEST_OUTPUT_TOKENS = 131_072  # held where nothing bounds an answer; sent upstream unless it is a stream in sight


@dataclass(slots=True)  # what is asked for so often is found twice as fast as in a tuple
class Quote:
    """What a request may come to at one target. `output_tokens` is per choice, of which there are `choices`.

    `input_tokens` are of all the calls that the choices take.
    """

    target: Target
    price: Price | None
    input_tokens: int
    output_tokens: int
    choices: int
    predicted_tokens: int  # billed as output beside the limit: what of `prediction` it rejects, what it reasons unasked
    said: bool  # the length is bounded by the caller's own limit, or by what is known of the model
    watched: bool  # it is not, but a stream in sight is ended in time if its hold cannot be raised (gateway.growth)
    at_s: float  # when it begins: which version of the price holds
    extras: Extras
    slope: Slope | None  # None: not priced, or not completely

    @property
    def free(self) -> bool:
        """Whether the answer costs the same however long it is."""
        return self.nanousd(1) == self.nanousd(0)

    def nanousd(self, output_tokens: int) -> int:
        """The most that answers of `output_tokens` each can cost. Raises Unpriced."""
        bound = self.slope or self._slope()
        if bound is None:
            return 0
        most = bound.nanousd(output_tokens * self.choices + self.predicted_tokens)
        return most + self.extras.calls - 1 if most else 0  # each call is rounded up by itself

    def length(self, nanousd: int) -> int:
        """The longest answers, in tokens each, that `nanousd` covers."""
        bound = self.slope or self._slope()
        if bound is None:
            return self.output_tokens
        covered = bound.output_tokens(max(0, nanousd - self.extras.calls + 1))
        return max(0, covered - self.predicted_tokens) // self.choices

    def _slope(self) -> Slope | None:
        return None if self.price is None else slope(self.price, self.input_tokens, self.at_s, self.extras)


def quotes(
    chat: Json,
    body_bytes: int,
    targets: Sequence[Target],
    unpriced: Literal["refuse", "allow"],
    plain: bool,
    at_s: float,
) -> tuple[Quote, ...]:
    """One quote per target. Those without a price are left out, unless the policy allows them.

    `plain`: `chat` is `text_alone`. `at_s`: when it begins, Unix seconds.

    Raises LLMError("unpriced_model") when none is left.
    """
    found: list[Quote] = []
    missing = ""
    for target in targets:
        quote = _quote(chat, body_bytes, target, plain, at_s)
        try:
            if quote.price is None:
                raise Unpriced(target.name, "anything")
            if quote.slope is None:
                quote.nanousd(quote.output_tokens)
        except Unpriced as error:
            missing = missing or str(error)
            if unpriced == "refuse":
                continue
            quote = _at_known_rates(quote)
        found.append(quote)
    if not found:
        raise LLMError("unpriced_model", f"`{chat['model']}` has no complete price here: {missing}", param="model")
    return tuple(found)


def _at_known_rates(quote: Quote) -> Quote:
    """`quote` without the rates that are missing: the bill counts what they were for at the dearest there is."""
    plain = replace(quote, extras=Extras(quote.extras.tier, calls=quote.extras.calls), slope=None)
    try:
        plain.nanousd(plain.output_tokens)
    except Unpriced:
        return replace(plain, price=None)
    return plain


def _quote(chat: Json, body_bytes: int, target: Target, plain: bool, at_s: float) -> Quote:
    facts = target.endpoint.facts
    asked = asked_length(chat)
    apart = calls(chat, TRANSLATORS[target.dialect].OUTCOMES, target.endpoint) if "n" in chat else 1
    length = asked or facts.max_output_tokens or facts.max_input_tokens  # an answer is part of the context
    if plain:
        tokens, predicted = text_bound(chat, body_bytes, facts) * apart, 0
        extras = PLAIN if apart == 1 and "service_tier" not in chat else Extras(chat.get("service_tier"), calls=apart)
    else:
        asks = offered(chat, target.dialect)
        tokens = input_bound(asks, body_bytes, facts) * apart
        predicted = prediction_bound(chat) * apart
        extras = Extras(
            chat.get("service_tier"),
            special_rates(chat, target.dialect) | ({ANYWHERE} if chat.get("inference_geo") else set()),
            calls=apart,
            searches=search_bound(asks) * apart,
            map_searches=map_search_bound(asks) * apart,
        )
    if target.price is not None and target.price.researches:
        tokens += (facts.max_input_tokens or CONTEXT_TOKENS) * apart  # what it finds and reads
        predicted += (facts.max_output_tokens or LONGEST_OUTPUT_TOKENS) * apart  # what it reasons, beside the limit
        extras = extras._replace(searches=max(extras.searches, RESEARCHES * apart))
    try:
        bound = None if target.price is None else slope(target.price, tokens, at_s, extras)
    except Unpriced:
        bound = None
    longest, choices = length or LONGEST_OUTPUT_TOKENS, chat.get("n") or 1
    said = length is not None
    quote = Quote(target, target.price, tokens, longest, choices, predicted, said, False, at_s, extras, bound)
    if not said:
        quote.watched = bool(chat.get("stream")) and choices == 1 and in_sight(chat, quote)
    return quote


def in_sight(chat: Json, quote: Quote) -> bool:
    """Whether all that a stream is billed for is seen as it comes."""
    extras = quote.extras
    if extras.special or extras.searches or extras.map_searches or quote.predicted_tokens:
        return False
    if quote.price is not None and quote.price.draws:  # a picture has no bytes of text, and costs more than they do
        return False
    return quote.target.shows_reasoning or not _may_reason(chat, quote.target)


def _may_reason(chat: Json, target: Target) -> bool:
    """Whether the model may be billed for more than it shows; a model that nothing is known of may."""
    facts, effort = target.endpoint.facts, chat.get("reasoning_effort")
    if facts.reasons is False:
        return False
    if facts.reasons is None or facts.thinking_always:
        return True
    if target.dialect in ("anthropic", "vertex_anthropic") or facts.own_words == "anthropic":
        own = chat.get("thinking")  # which goes before the effort
        if not own and effort is not None:
            own = {"type": "disabled" if effort == "none" else "adaptive"}
        return is_thinking(own if isinstance(own, dict) else None, facts) or bool(chat.get("reasoning"))
    return effort != "none" or facts.thinking == "none" or not _OWN_EFFORT.isdisjoint(chat)


# Hosts' own words on reasoning, which go before `reasoning_effort`.
_OWN_EFFORT = frozenset({"extra_body", "reasoning", "thinking", "thinking_config"})


def asked_length(chat: Json) -> int | None:
    """The caller's own limit of the answer's length, in tokens; the higher of two, since a host may heed either."""
    one: int | None = chat.get("max_completion_tokens")
    other: int | None = chat.get("max_tokens")
    if not other:
        return one or None
    return max(one, other) if one else other


def limited(chat: Json, length: int | None) -> Json:
    """`chat` with its answer's length bounded, in the fields that it uses itself."""
    if length is None:
        return chat
    names = [name for name in LIMITS if chat.get(name)] or LIMITS[:1]
    return {**chat, **dict.fromkeys(names, length)}


def highest(chat: Json, found: Sequence[Quote], usual_output_tokens: int, prompt_tokens: int = 0) -> Ceiling:
    """What to hold so that any of the targets may answer; never more than the ledger can count.

    `prompt_tokens` is what the prompt probably comes to, for limits on tokens.
    """
    said = asked_length(chat)
    longest = least = usual = most = 0
    for quote in found:
        length, nanousd = quote.output_tokens, quote.nanousd
        whole = nanousd(length)
        for_usual = nanousd(usual_output_tokens) if usual_output_tokens < length else whole
        for_least = nanousd(LEAST_OUTPUT_TOKENS) if length > LEAST_OUTPUT_TOKENS else whole
        if quote is found[0]:
            longest, least, usual, most = length, for_least, for_usual, whole
        else:
            longest, most = max(longest, length), max(most, whole)
            least, usual = max(least, for_least), max(usual, for_usual)
    if most > MAX_NANOUSD:
        least, usual, most = min(least, MAX_NANOUSD), min(usual, MAX_NANOUSD), MAX_NANOUSD
    output_tokens = min(said or usual_output_tokens, longest)
    return Ceiling(
        least,
        usual,
        most,
        said is not None,
        prompt_tokens + output_tokens * found[0].choices,
        prompt_tokens + min(LEAST_OUTPUT_TOKENS, output_tokens),
    )


def lengths(
    found: Sequence[Quote], held_nanousd: int, *, capped: bool, most_tokens: int | None = None
) -> Mapping[str, int]:
    """By target, the limit to send upstream so that no answer costs more than is held; none where it cannot anyway.

    `most_tokens`, where given, bounds all of an answer's choices together. Where nothing is capped, or the stream is
    watched, no limit is made up for a model whose own is not known: it would have to be a guess at what its host takes.
    """
    limits: dict[str, int] = {}
    for quote in found:
        afforded = quote.length(held_nanousd)
        if most_tokens is not None:
            afforded = min(afforded, most_tokens // quote.choices)
        if afforded < quote.output_tokens:
            limits[quote.target.name] = max(1, afforded)
        elif capped and not (quote.said or quote.watched or quote.free):
            limits[quote.target.name] = quote.output_tokens
    return limits
