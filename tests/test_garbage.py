"""What a request was made of is gone when it ends: nothing of it waits for the garbage collector.

In a cycle of references, its body, answer and task stay until the collector comes by: that took a seventh of a whole
answer's CPU, and memory that came and went over hundreds of thousands of requests (issue 5).
"""

import gc
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.replay import Reply, Upstream, event_reply, json_reply
from tests.running import configured
from tests.test_cost import ANSWER, COUNT, FINISH, HELLO, LIMITS, PRICES, ROUTES, SAY

TIMES = 5
OURS = ("gateway.", "translators.", "uvicorn.")


@pytest.fixture
def garbage() -> Iterator[Callable[[], Counter[str]]]:
    """What of ours the collector finds that nobody refers to, by type; it comes by only when this is called."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)

    def found() -> Counter[str]:
        gc.collect()
        names = Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.garbage)
        gc.garbage.clear()
        return Counter({name: times for name, times in names.items() if name.startswith(OURS)})

    yield found
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


@pytest.mark.parametrize(
    ("asked", "status", "reply"),
    [
        (HELLO, 200, json_reply(200, ANSWER)),
        (HELLO | {"stream": True}, 200, event_reply(SAY, FINISH, COUNT)),
        (HELLO | {"model": "unheard-of"}, 404, json_reply(200, ANSWER)),
    ],
    ids=["whole", "streamed", "refused"],
)
def test_a_request_leaves_nothing_to_the_collector(
    asked: dict[str, Any],
    status: int,
    reply: Reply,
    upstream: Upstream,
    store_env: Mapping[str, str],
    tmp_path: Path,
    garbage: Callable[[], Counter[str]],
) -> None:
    upstream.handler = lambda _: reply
    with configured(ROUTES.format(url=upstream.url), PRICES, store_env, tmp_path) as gateway:
        key = gateway.new_key(**LIMITS)
        assert gateway.chat(key, asked).status_code == status
        garbage()  # what is made once
        for _ in range(TIMES):
            assert gateway.chat(key, asked).status_code == status
        left = garbage()
    assert not {name: times for name, times in left.items() if times >= TIMES}
