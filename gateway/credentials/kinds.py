"""Who signs what goes to a provider that wants more than a key in a header: one `Credentials` for each of them.

Tokens are fetched when the worker starts and renewed before they expire; a request waits only when there is none yet.
"""

from collections.abc import Mapping
from typing import Protocol

from gateway.config import Config
from gateway.credentials.aws import AwsCredentials
from gateway.credentials.google import GoogleCredentials
from gateway.settings import Provider
from translators.exchange import UpstreamRequest


class Credentials(Protocol):
    """One provider account's way to authenticate."""

    async def signed(self, sent: UpstreamRequest) -> Mapping[str, str]:
        """All headers to send with `sent`. Raises LLMError("upstream_auth"), or ("connect") for the issuer."""
        ...

    async def close(self) -> None:
        """Stop renewing."""
        ...


def credentials_of(config: Config) -> dict[str, Credentials]:
    """By provider, for those that are on and need them. To be called within the event loop that will use them."""
    found: dict[str, Credentials] = {}
    for name, provider in config.settings.providers.items():
        if name not in config.off and _wants_google(provider):
            found[name] = GoogleCredentials(name, provider.credentials)
        elif name not in config.off and _wants_aws(provider):
            found[name] = AwsCredentials(name, provider.region)
    return found


def _wants_google(provider: Provider) -> bool:
    return provider.dialect.startswith("vertex") and not _has_its_own(provider)


def _wants_aws(provider: Provider) -> bool:
    return provider.dialect == "bedrock" and not _has_its_own(provider)


def _has_its_own(provider: Provider) -> bool:
    """A key, or the operator's own header."""
    return bool(provider.api_key) or any(header.lower() == "authorization" for header in provider.headers)
