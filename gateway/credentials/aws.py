"""AWS's credentials, by botocore (extra `bedrock`): its chain, in a thread, and Signature Version 4.

The chain is its own: environment, profile, SSO, web identity, container, instance. With AWS_BEARER_TOKEN_BEDROCK in
the environment that token is sent instead, and botocore is not needed.
"""

import asyncio
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from gateway.credentials.renewal import Renewal
from translators.errors import LLMError
from translators.exchange import UpstreamRequest

BEARER = "AWS_BEARER_TOKEN_BEDROCK"  # botocore 1.44, tokens.py: AWS_BEARER_TOKEN_ and the signing name
SIGNING_NAME = "bedrock"  # the service model's signingName
RENEW_S = 60.0  # how often botocore is asked; it renews by itself once less than 15 minutes are left
LARGE_BYTES = 256 * 1024  # a body that takes more than a millisecond to hash is signed in a thread


class Keys(NamedTuple):
    """botocore's credentials, which renew themselves, and their values at one moment."""

    source: Any
    frozen: Any


class AwsCredentials:
    """One account's credentials, kept fresh from the moment it is made. `region` "" is the environment's."""

    def __init__(self, provider: str, region: str) -> None:
        self._provider = provider
        self._region = region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        self._bearer = os.environ.get(BEARER, "")
        self._source: Any = None  # botocore's credentials, once the chain has found them
        self._renewal = None if self._bearer else Renewal(self._found, _is_fresh, lambda _: RENEW_S)

    async def signed(self, sent: UpstreamRequest) -> Mapping[str, str]:
        """The headers of `sent`, signed. Requests that come while credentials are fetched wait for that one fetch.

        Raises LLMError("upstream_auth").
        """
        if self._renewal is None:
            return {**sent.headers, "authorization": f"Bearer {self._bearer}"}
        keys = await self._renewal.fresh()
        if len(sent.body) < LARGE_BYTES:
            return self._signature(keys, sent)
        return await asyncio.to_thread(self._signature, keys, sent)

    async def close(self) -> None:
        """Stop renewing; a fetch under way is left to end by itself."""
        if self._renewal is not None:
            await self._renewal.close()

    def _signature(self, keys: Keys, sent: UpstreamRequest) -> dict[str, str]:
        from botocore.auth import SigV4Auth  # type: ignore[import-untyped]  # botocore has no types
        from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]  # botocore has no types

        request = AWSRequest("POST", sent.url, headers=dict(sent.headers), data=sent.body)
        SigV4Auth(keys.frozen, SIGNING_NAME, self._region).add_auth(request)
        return {name.lower(): value for name, value in request.headers.items()}

    def _found(self) -> Keys:
        """The credentials that botocore's chain finds, and their values, renewed where that is due. Blocks."""
        try:
            from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]  # botocore has no types
            from botocore.session import Session  # type: ignore[import-untyped]  # botocore has no types
        except ImportError as error:
            why = f"needs the extra `bedrock` (`pip install '.[bedrock]'`), or an `api_key` ({BEARER})"
            raise self._lack(why) from error
        try:
            source = self._source or Session().get_credentials()
            frozen = source.get_frozen_credentials() if source is not None else None
        except (BotoCoreError, ClientError, OSError, ValueError, KeyError, RuntimeError) as error:
            raise self._lack("AWS's credential chain failed") from error
        if frozen is None or not frozen.access_key:
            raise self._lack("AWS's credential chain found none (environment, profile, container, instance)")
        self._source = source
        return Keys(source, frozen)

    def _lack(self, why: str) -> LLMError:
        return LLMError("upstream_auth", f"There are no AWS credentials for the provider {self._provider!r}: {why}")


def _is_fresh(keys: Keys) -> bool:
    """Whether the values are accepted still: those of a key expire never, others say when."""
    expiring = getattr(keys.source, "refresh_needed", None)
    return expiring is None or not expiring(0)
