"""What an answer used, in disjoint buckets, and how OpenAI's `usage` object says it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import compress
from operator import attrgetter
from typing import Any


@dataclass(slots=True)
class Usage:
    """Tokens by what they are billed as. No token is in two buckets; none is negative.

    `service_tier`, `region` and `search_context` (how much of what it found was read) are what the provider *answered*
    with ("" when it said nothing): they choose the rate.
    `cost_usd` is the price that the provider itself stated (OpenRouter), as a decimal string.
    """

    input_tokens: int = 0  # prompt: text, and images and video where they share its rate
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0  # at the shortest lifetime the provider has
    cache_write_1h_tokens: int = 0
    audio_input_tokens: int = 0
    image_input_tokens: int = 0
    cache_read_audio_tokens: int = 0
    output_tokens: int = 0  # visible text and tool calls
    reasoning_tokens: int = 0
    audio_output_tokens: int = 0
    image_output_tokens: int = 0
    citation_tokens: int = 0  # of pages found and read, where they have a rate of their own (Perplexity)
    web_searches: int = 0  # server-tool calls with a fee of their own
    map_searches: int = 0
    accepted_prediction_tokens: int = 0  # part of output_tokens: reported, not billed again
    rejected_prediction_tokens: int = 0  # part of output_tokens likewise
    service_tier: str = ""
    region: str = ""
    search_context: str = ""
    cost_usd: str | None = None

    @property
    def prompt_tokens(self) -> int:
        """Everything that was read, as OpenAI counts it: cached tokens included."""
        return (
            self.input_tokens
            + self.cache_read_tokens
            + self.cache_write_tokens
            + self.cache_write_1h_tokens
            + self.audio_input_tokens
            + self.image_input_tokens
            + self.cache_read_audio_tokens
        )

    @property
    def completion_tokens(self) -> int:
        """Everything that was generated, as OpenAI counts it: reasoning included."""
        return self.output_tokens + self.reasoning_tokens + self.audio_output_tokens + self.image_output_tokens

    def blank(self) -> bool:
        """Whether nothing was said. Compared as it stands, it would take five times as long."""
        return _everything(self) == _NOTHING

    def tokens(self) -> int:
        """All that was read and all that was generated."""
        return sum(self.amounts()[:_TOKENS])

    def amounts(self) -> tuple[int, ...]:
        """The billed buckets, in the order of BILLED. Written out, they take a quarter of what attrgetter needs."""
        return (
            self.input_tokens,
            self.cache_read_tokens,
            self.cache_write_tokens,
            self.cache_write_1h_tokens,
            self.audio_input_tokens,
            self.image_input_tokens,
            self.cache_read_audio_tokens,
            self.output_tokens,
            self.reasoning_tokens,
            self.audio_output_tokens,
            self.image_output_tokens,
            self.citation_tokens,
            self.web_searches,
            self.map_searches,
        )

    def buckets(self) -> dict[str, int]:
        """The billed buckets that are not empty, by field name."""
        amounts = self.amounts()
        if amounts.count(0) == _BESIDE_TEXT and self.input_tokens and self.output_tokens:  # most answers are text
            return {"input_tokens": self.input_tokens, "output_tokens": self.output_tokens}
        return dict(compress(zip(BILLED, amounts, strict=True), amounts))

    def to_openai(self) -> dict[str, Any]:
        """OpenAI's `usage` object (openai 3.52, types/completion_usage.py)."""
        prompt, completion = self.prompt_tokens, self.completion_tokens
        prompt_details = {
            "cached_tokens": self.cache_read_tokens + self.cache_read_audio_tokens,
            "audio_tokens": self.audio_input_tokens + self.cache_read_audio_tokens,
        }
        if written := self.cache_write_tokens + self.cache_write_1h_tokens:
            prompt_details["cache_write_tokens"] = written
        if self.image_input_tokens:
            prompt_details["image_tokens"] = self.image_input_tokens
        completion_details = {
            "reasoning_tokens": self.reasoning_tokens,
            "audio_tokens": self.audio_output_tokens,
            "accepted_prediction_tokens": self.accepted_prediction_tokens,
            "rejected_prediction_tokens": self.rejected_prediction_tokens,
        }
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": prompt_details,
            "completion_tokens_details": completion_details,
        }


_NOT_BILLED = {
    *("accepted_prediction_tokens", "rejected_prediction_tokens"),
    *("service_tier", "region", "search_context", "cost_usd"),
}
BILLED = tuple(field.name for field in fields(Usage) if field.name not in _NOT_BILLED)
_BESIDE_TEXT = len(BILLED) - 2
_TOKENS = BILLED.index("citation_tokens")  # before it: what was read, and what was generated
_everything = attrgetter(*(field.name for field in fields(Usage)))
_NOTHING = _everything(Usage())


MOST_TOKENS = 10**9  # in one answer; a larger figure is nonsense


def count(value: object) -> int:
    """A provider's token count (12.0 is 12); what is missing, negative, absurd or no number is 0, never a credit."""
    if type(value) is int:
        return value if 0 < value <= MOST_TOKENS else 0
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return 0
    return value if 0 < value <= MOST_TOKENS else 0


def later(before: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    """A provider's usage as it says it again in a stream: cumulative, so `told` goes over what was said `before`.

    Nothing is added, and what was counted is not taken back by nothing, 0 or nonsense.
    """
    merged = {**before}
    for name, value in told.items():
        if value is not None and (count(value) or not count(before.get(name))):
            merged[name] = value
    return merged
