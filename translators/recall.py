"""Signed reasoning, remembered for a client that does not send it back: under which names it is kept.

A provider that signs its reasoning demands it again on the next turn, and a plain OpenAI client drops it. What a
decoder saw is kept under the ids of the tool calls that followed it, or under a hash of the text that did; the next
request asks for the names that its own messages mention.
"""

import hashlib
from typing import Any


def text_key(text: str) -> str:
    """The name for reasoning that stands before `text` and no tool call."""
    return "text:" + hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def wanted(chat: dict[str, Any]) -> tuple[str, ...]:
    """The names to look up for `chat`: its assistant messages that came back without their `reasoning_details`."""
    names: list[str] = []
    for message in chat["messages"]:
        if message.get("role") != "assistant" or message.get("reasoning_details"):
            continue
        calls = message.get("tool_calls") or ()
        names += [call["id"] for call in calls]
        if not calls and (text := text_of(message.get("content"))):
            names.append(text_key(text))
    return tuple(dict.fromkeys(names))


def text_of(content: Any) -> str:
    """The text of a message's content, whether it is a string or a list of parts."""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if part.get("type") == "text")
    return content or ""
