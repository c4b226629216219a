"""What a worker tells a server that may have forgotten it: claims, the last minute's settles, its live holds.

A server that was restarted with `appendfsync everysec`, or a replica that took its place, may lack the last second
before it went, however long it was away: the minute is counted back from the last settle that it took.
"""

import time
from collections import deque
from collections.abc import Sequence

from gateway.ledger import redis_calls as calls
from gateway.ledger.redis_calls import Known
from gateway.ledger.redis_scripts import Call, Keys
from gateway.ledger.store import Ask, Beat, Bill
from translators.json_values import trimmed

TOLD_AGAIN_S = 60.0
KNOWN_S = 86_400.0  # no settle is told after so long: seven days on, the store would take it for another
MOST = 10_000  # settles; some tens of megabytes


class Recent:
    """Remembers what the store has acknowledged to this worker. Nothing else holds what is here."""

    def __init__(self, root: Keys) -> None:
        self._root = root
        self._settled: deque[tuple[float, Bill]] = deque(maxlen=MOST)
        self._live: dict[str, Known] = {}
        self.claims: dict[str, bytes] = {}  # by key

    def claimed(self, key: str, value: bytes) -> None:
        self.claims[key] = value

    def held(self, ask: Ask, nanousd: int, tokens: int, taken: bytes) -> None:
        self._live[ask.request_id] = tuple.__new__(Known, (ask, nanousd, tokens, taken, 0, ask.line))

    def grown(self, request_id: str, nanousd: int) -> None:
        if known := self._live.get(request_id):
            self._live[request_id] = known._replace(nanousd=nanousd)

    def renewed(self, beats: Sequence[Beat], gone: Sequence[str]) -> None:
        for beat in beats:
            if beat.line and (known := self._live.get(beat.request_id)):
                self._live[beat.request_id] = known._replace(cost_nanousd=beat.cost_nanousd, line=trimmed(beat.line))
        for id in gone:
            self._live.pop(id, None)

    def settled(self, bill: Bill) -> None:
        self._live.pop(bill.request_id, None)
        settled, now = self._settled, time.monotonic()
        settled.append((now, bill))
        while settled[0][0] < now - TOLD_AGAIN_S:
            settled.popleft()

    def calls(self) -> Sequence[Call]:
        """All of it, first what is settled; each changes nothing where the server knows of it."""
        since = time.monotonic() - KNOWN_S  # what is older than a minute, `settled` has taken out
        again = [calls.settle(self._root, bill) for at, bill in self._settled if at >= since]
        return again + [calls.restore(self._root, known, known.ask.lease_s) for known in self._live.values()]
