"""How long the answers of a key and model usually are, learned, so that a small cap serves many at once."""

from gateway.bounded import keep

LEAST_TOKENS = 64
LEAST_AHEAD = 64  # tokens of a stream that may be generated unseen before a cancellation takes effect, at the least
LEAST_BOUND = 3 * LEAST_AHEAD  # room for a hold to grow in time
MARGIN = 2  # times the longest answer of late: one that is longer still is cut only when the cap is nearly used up
MARGIN_OF_BOUNDS = 1.25  # times its bound in bytes, where the hold grows with the answer
BYTES_PER_TOKEN = 4.0  # of English text and of code, where nothing is known of a model
FEWEST_BYTES = 64  # an answer that is shorter teaches nothing of that
LIKELY = (2.0, 8.0)  # bytes per token of whole answers: what is beyond teaches no more than that
LESSONS = 10  # of as many answers the average is remembered, the guess at first being one of them
FADE = 0.95  # of the longest one's lead over the present one, per answer
SLACK = 64  # tokens that an answer may have beyond its bytes: its end, its calls
MAX_KNOWN = 10_000  # pairs of key and model; the oldest are forgotten


class Usual:
    """One worker's own experience; nothing depends on it but how much is held at first, and whether that can grow."""

    def __init__(self, unknown_tokens: int) -> None:
        self._unknown = unknown_tokens
        self._longest: dict[tuple[str, str], list[float]] = {}  # tokens, and the most they could have been
        self._unseen: dict[str, None] = {}  # models that were billed for more than could be seen of them
        self._ratios: dict[str, tuple[float, int]] = {}  # bytes per token, by model, and of how many answers

    def tokens(self, key_id: str, model: str, *, bounded: bool = False) -> int:
        """Enough for most answers, in tokens; `bounded`: as the bytes of the answer bound them."""
        known = self._longest.get((key_id, model)) or self._longest.get(("", model))
        tokens, bound = known or (self._unknown / MARGIN, self._unknown * BYTES_PER_TOKEN / MARGIN_OF_BOUNDS)
        if bounded:
            # so that an answer of the usual length ends without a step that may be refused
            return max(LEAST_BOUND, round(MARGIN_OF_BOUNDS * bound) + LEAST_AHEAD)
        return round(MARGIN * tokens) if known is None else max(LEAST_TOKENS, round(MARGIN * tokens))

    def seen(self, model: str) -> bool:
        """Whether what `model` generates can be seen as it comes, so far as is known here."""
        return model not in self._unseen

    def bytes_per_token(self, model: str) -> float:
        """How long the tokens of `model` are on average, for estimates."""
        return self._ratios.get(model, (BYTES_PER_TOKEN, 1))[0]

    def learn(self, key_id: str, model: str, tokens: int, output_bytes: int) -> None:
        """An answer came to `tokens`, billed by the provider, and was `output_bytes` long (0: not counted)."""
        if output_bytes and tokens > output_bytes + SLACK:
            keep(self._unseen, model, None, MAX_KNOWN)
        elif output_bytes >= FEWEST_BYTES and tokens:
            average, lessons = self._ratios.get(model, (BYTES_PER_TOKEN, 1))
            seen = min(max(output_bytes / tokens, LIKELY[0]), LIKELY[1])
            lessons = min(lessons + 1, LESSONS)
            keep(self._ratios, model, (average + (seen - average) / lessons, lessons), MAX_KNOWN)
        bound = max(tokens, output_bytes or round(BYTES_PER_TOKEN * tokens))
        for name in ((key_id, model), ("", model)):  # a key that is new here begins with what others have seen
            known = self._longest.get(name)
            if known is None or len(self._longest) >= MAX_KNOWN:  # then whose turn it is to be forgotten matters
                keep(self._longest, name, known := known or [0.0, 0.0], MAX_KNOWN)
            longest, bounds = known
            known[0] = tokens + FADE * (longest - tokens) if longest > tokens else tokens
            known[1] = bound + FADE * (bounds - bound) if bounds > bound else bound
