"""Which dialects there are, by the name that routes.yaml gives them."""

from translators import anthropic, gemini, openai
from translators.exchange import Translator

TRANSLATORS: dict[str, Translator] = {"openai": openai, "anthropic": anthropic, "gemini": gemini}
