"""Gemini's usageMetadata in disjoint buckets.

| usageMetadata | is | bucket |
|---|---|---|
| promptTokenCount | all of the prompt, cached part included | input, less what is below |
| cachedContentTokenCount | a part of the prompt | cache_read; its AUDIO by cacheTokensDetails is cache_read_audio |
| promptTokensDetails AUDIO | a part of the prompt | audio_input, less what of it was cached |
| toolUsePromptTokenCount | beside the prompt | input |
| candidatesTokenCount | all that is visible | output; its AUDIO and IMAGE by candidatesTokensDetails apart |
| thoughtsTokenCount | beside the candidates | reasoning |

Sources: google-genai 3.4, types.GenerateContentResponseUsageMetadata; totals of 191 recorded answers agree.
"""

from translators.exchange import Json
from translators.usage import Usage, count

# Developer API: usageMetadata.serviceTier (recorded); Vertex: types.TrafficType. In OpenAI's words.
_TIERS = {
    "standard": "default",
    "flex": "flex",
    "priority": "priority",
    "ON_DEMAND": "default",
    "ON_DEMAND_FLEX": "flex",
    "ON_DEMAND_PRIORITY": "priority",
    "PROVISIONED_THROUGHPUT": "scale",
}
_MODALITY_NUMBERS = {1: "TEXT", 2: "IMAGE", 3: "VIDEO", 4: "AUDIO", 5: "DOCUMENT"}


def service_tier(metadata: Json) -> str | None:
    """The tier that served the request, in OpenAI's word; None where Google said nothing that OpenAI has a word for."""
    tier = metadata.get("serviceTier") or metadata.get("trafficType")
    return _TIERS.get(tier) if isinstance(tier, str) else None


def usage_of(metadata: Json, web_searches: int = 0, map_searches: int = 0) -> Usage:
    """The buckets of a `usageMetadata`, cumulative ones merged. No part is counted past its whole, nothing below 0.

    `map_searches`: answers that came with places from Google Maps; how many queries that took is not told.
    """
    prompt = count(metadata.get("promptTokenCount"))
    tool = count(metadata["toolUsePromptTokenCount"]) if "toolUsePromptTokenCount" in metadata else 0
    cached = min(count(metadata["cachedContentTokenCount"]), prompt) if "cachedContentTokenCount" in metadata else 0
    read, made = metadata.get("promptTokensDetails"), metadata.get("candidatesTokensDetails")
    cached_audio = min(_of_modality(metadata.get("cacheTokensDetails"), "AUDIO"), cached) if cached else 0
    audio = min(_of_modality(read, "AUDIO"), prompt - cached + cached_audio) if read else 0
    audio_input = max(audio - cached_audio, 0)
    thoughts = count(metadata["thoughtsTokenCount"]) if "thoughtsTokenCount" in metadata else 0
    said = metadata.get("candidatesTokenCount")
    visible = count(said)
    if not visible and said != 0:  # all thinking, or blocked: then the total leaves nothing over
        visible = max(count(metadata.get("totalTokenCount")) - prompt - tool - thoughts, 0)
    audio_output = min(_of_modality(made, "AUDIO"), visible) if made else 0
    image_output = min(_of_modality(made, "IMAGE"), visible - audio_output) if made else 0
    return Usage(
        prompt - cached - audio_input + tool,
        cached - cached_audio,
        audio_input_tokens=audio_input,
        cache_read_audio_tokens=cached_audio,
        output_tokens=visible - audio_output - image_output,
        reasoning_tokens=thoughts,
        audio_output_tokens=audio_output,
        image_output_tokens=image_output,
        web_searches=web_searches,
        map_searches=map_searches,
        service_tier=service_tier(metadata) or "",
    )


def _of_modality(details: object, wanted: str) -> int:
    total = 0
    for each in details if isinstance(details, list) else ():
        modality = each.get("modality") if isinstance(each, dict) else None
        if wanted == (_MODALITY_NUMBERS.get(modality) if isinstance(modality, int) else modality):
            total += count(each.get("tokenCount"))
    return total
