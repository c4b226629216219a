"""How long the answers of a key and model usually are, learned, so that a small cap serves many at once."""

LEAST_TOKENS = 64
MARGIN = 2  # times the longest answer of late: one that is longer still is cut only when the cap is nearly used up
FADE = 0.95  # of the longest one's lead over the present one, per answer
MAX_KNOWN = 10_000  # pairs of key and model; the oldest are forgotten


class Usual:
    """One worker's own experience; nothing depends on it but how much is held at first."""

    def __init__(self, unknown_tokens: int) -> None:
        self._unknown = unknown_tokens
        self._longest: dict[tuple[str, str], float] = {}

    def tokens(self, key_id: str, model: str) -> int:
        """Enough for most answers, in tokens."""
        longest = self._longest.get((key_id, model))
        return self._unknown if longest is None else max(LEAST_TOKENS, round(MARGIN * longest))

    def learn(self, key_id: str, model: str, tokens: int) -> None:
        """An answer came to `tokens`."""
        name = (key_id, model)
        before = self._longest.pop(name, 0.0)
        self._longest[name] = max(tokens, tokens + FADE * (before - tokens))
        if len(self._longest) > MAX_KNOWN:
            del self._longest[next(iter(self._longest))]
