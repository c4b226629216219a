"""Which dialects there are, by the name that routes.yaml gives them, and which of them a host's model speaks.

Vertex serves the models of many makers, each in its maker's shape: the modules `vertex…` put the maker's own dialect
into Vertex's envelope. Which one answers for a model depends on its publisher (models.yaml, `publishers`).
"""

from translators import anthropic, bedrock, gemini, openai, openrouter, vertex, vertex_anthropic, vertex_openai
from translators.exchange import Translator

TRANSLATORS: dict[str, Translator] = {
    "openai": openai,
    "anthropic": anthropic,
    "bedrock": bedrock,
    "gemini": gemini,
    "openrouter": openrouter,
    "vertex": vertex,
    "vertex_anthropic": vertex_anthropic,
    "vertex_openai": vertex_openai,
}

# Dialects whose providers sign their reasoning and want it again on the next turn.
SIGNING = frozenset(TRANSLATORS) - {"openai", "vertex_openai"}

# A dialect that is a host's → its publishers' shapes; "*" is any other publisher, "" an unknown one.
SHAPES: dict[str, dict[str, str]] = {
    "vertex": {"google": "vertex", "anthropic": "vertex_anthropic", "": "vertex", "*": "vertex_openai"},
}


def spoken(dialect: str, publisher: str) -> str:
    """The dialect in which a model of `publisher` is asked, where routes.yaml names `dialect`."""
    shapes = SHAPES.get(dialect)
    return dialect if shapes is None else shapes.get(publisher, shapes["*"])
