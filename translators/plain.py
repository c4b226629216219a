"""Requests of text alone, told at a glance: most are, and need nothing of what is done for tools, media and reasoning.

A dialect that rewrites requests has a short way for these. What it makes is what its long way makes, byte for byte.
"""

from translators.exchange import Context, Endpoint, Json

# What may be set. Each dialect looks at the values itself; null asks for nothing.
WORDS = frozenset(
    {"model", "messages", "max_completion_tokens", "max_tokens", "temperature", "stream", "stream_options"}
)


def leading(chat: Json) -> int:
    """How many system messages stand before the turns of a plain `chat`; -1 where it is not plain.

    It is where nothing beyond WORDS is set, messages are a role and some text each, instructions come first, and then
    user and assistant take turns, the user first and last.
    """
    if not WORDS.issuperset(chat):
        return -1
    system, next_role, begun = 0, "user", False
    for message in chat["messages"]:
        content = message.get("content")
        if type(content) is not str or not content or content.isspace() or len(message) != 2:
            return -1
        role = message.get("role")
        if role == next_role:
            next_role, begun = "assistant" if role == "user" else "user", True
        elif begun or (role != "system" and role != "developer"):
            return -1
        else:
            system += 1
    return system if next_role == "assistant" else -1


def wants_usage(chat: Json) -> bool:
    """Whether the client asked for the usage frame of a stream."""
    options = chat.get("stream_options")
    return bool(options and options.get("include_usage"))


def contexts(endpoint: Endpoint) -> tuple[Context, Context]:
    """Those of plain requests: usage not asked for, and asked for."""
    return Context(model=endpoint.model), Context(model=endpoint.model, include_usage=True)
