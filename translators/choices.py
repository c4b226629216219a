"""Several answers to one request as the choices of one: `n`, where each takes an upstream call of its own.

A stream's pieces come with one byte in front that says whose they are; nothing behind it is that answer's end.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson

from translators import sse
from translators.errors import LLMError, cut_off
from translators.exchange import Answer, Context, Json
from translators.exchange import Decoder as OneDecoder
from translators.json_values import piece_of, told
from translators.usage import BILLED, Usage

PREDICTED = ("accepted_prediction_tokens", "rejected_prediction_tokens")


def request_ids(request_id: str, calls: int) -> list[str]:
    """One for each call, so that ids made up from them differ; the first is the request's own."""
    return [request_id, *(f"{request_id}_{index}" for index in range(1, calls))]


def piece(index: int, data: bytes) -> bytes:
    """What answer `index` brought, for Decoder.feed; b"" is its end."""
    return bytes([index]) + data


def merged(answers: Sequence[Answer]) -> Answer:
    """The answers as choices of the first, in order, with all that they used."""
    bodies: list[Json] = [orjson.loads(answer.body) for answer in answers]
    usage = summed([answer.usage for answer in answers])
    choices = [{**choice, "index": index} for index, body in enumerate(bodies) for choice in body["choices"][:1]]
    body = {**bodies[0], "choices": choices, "usage": _with_cost(usage)}
    return Answer(told(body), usage, _together([answer.remember for answer in answers]))


def summed(usages: Sequence[Usage]) -> Usage:
    """All of them in one; what is no count (tier, region) is the first's."""
    if len(usages) == 1:
        return usages[0]
    counts = {name: sum(getattr(usage, name) for usage in usages) for name in (*BILLED, *PREDICTED)}
    costs = [usage.cost_usd for usage in usages]
    cost_usd = None if None in costs else f"{sum(Decimal(cost or 0) for cost in costs):f}"
    return replace(usages[0], cost_usd=cost_usd, **counts)


def _with_cost(usage: Usage) -> Json:
    """OpenAI's `usage`, with `cost`, a number as OpenRouter has it, where each of the calls told its price."""
    cost = {} if usage.cost_usd is None else {"cost": float(usage.cost_usd)}
    return {**usage.to_openai(), **cost}


def _together(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {name: item for each in items for name, item in each.items()}


class Decoder:
    """The streams of several calls, interleaved as they come: one id, every choice with its index and its own finish.

    `decoders` were made without the usage chunk; those in `ended` are at their end. An error of one is everybody's.
    """

    def __init__(
        self, decoders: Sequence[OneDecoder], context: Context, created: int, request_id: str, ended: Collection[int]
    ) -> None:
        self._decoders = decoders
        self._include_usage = context.include_usage
        self._own_head: Json = {"id": f"chatcmpl-{request_id}", "created": created, "model": context.model}
        self._head: Json = {}  # what must be the same in every frame, as the first had it; what that lacks is our own
        self.ended = set(ended)

    @property
    def usage(self) -> Usage:
        return summed([decoder.usage for decoder in self._decoders])

    @property
    def started(self) -> bool:
        return any(decoder.started for decoder in self._decoders)

    @property
    def finished(self) -> bool:
        return all(at in self.ended or decoder.done or decoder.finished for at, decoder in enumerate(self._decoders))

    @property
    def done(self) -> bool:
        return all(decoder.done for decoder in self._decoders)

    @property
    def output_bytes(self) -> int:
        return sum(decoder.output_bytes for decoder in self._decoders)

    @property
    def remember(self) -> Mapping[str, Any]:
        return _together([decoder.remember for decoder in self._decoders])

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that a `piece` completes. Raises LLMError as the answer's own decoder does."""
        index, data = data[0], data[1:]
        if data:
            return self.framed(index, self._decoders[index].feed(data))
        frames = self._decoders[index].close()
        self.ended.add(index)
        return self.framed(index, frames)

    def close(self) -> list[bytes]:
        """What is left, and the usage of all, where it was asked for.

        Raises LLMError("bad_upstream") if an answer is not at its end.
        """
        frames: list[bytes] = []
        for index, decoder in enumerate(self._decoders):
            if decoder.done and index not in self.ended:  # only then is its `remember` complete
                self.ended.add(index)
                frames += self.framed(index, decoder.close())
        if len(self.ended) < len(self._decoders):
            raise cut_off("The provider's streams ended before their answers did")
        return [*frames, self._usage()] if self._include_usage else frames

    def _usage(self) -> bytes:
        head = {**(self._head or self._own_head), "object": "chat.completion.chunk"}
        return sse.encode(told({**head, "choices": [], "usage": _with_cost(self.usage)}))

    def framed(self, index: int, frames: Sequence[bytes]) -> list[bytes]:
        """Frames of answer `index` as choice `index` of the whole. Their usage is left out: it is told once, summed."""
        return [made for frame in frames if (made := self._frame(index, frame))]

    def _frame(self, index: int, frame: bytes) -> bytes | None:
        chunk = _parsed(frame)
        chunk.pop("usage", None)
        if not chunk.get("choices"):
            return None
        if not self._head:
            self._head = {name: chunk.get(name) or own for name, own in self._own_head.items()}
        choices = [{**choice, "index": index} for choice in chunk["choices"][:1]]
        return sse.encode(told({**chunk, **self._head, "choices": choices}))


def _parsed(frame: bytes) -> Json:
    try:
        chunk: Json = piece_of(frame.removeprefix(b"data:"))
    except orjson.JSONDecodeError:  # a host's text frame is relayed unread until here
        raise LLMError("bad_upstream", "The provider sent an event that cannot be read") from None
    return chunk
