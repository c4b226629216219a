"""AWS's credentials, by botocore (extra `headgate[bedrock]`): its chain, in a thread, and Signature Version 4.

The chain is its own: environment, profile, SSO, web identity, container, instance. With AWS_BEARER_TOKEN_BEDROCK in
the environment that token is sent instead, and botocore is not needed.
"""

import asyncio
import logging
import os
import time
from collections.abc import Mapping
from typing import Any

from translators.errors import LLMError
from translators.exchange import UpstreamRequest

BEARER = "AWS_BEARER_TOKEN_BEDROCK"  # botocore 1.44, tokens.py: AWS_BEARER_TOKEN_ and the signing name
SIGNING_NAME = "bedrock"  # the service model's signingName
RENEW_S = 60.0  # how often botocore is asked; it renews by itself once less than 15 minutes are left
RETRY_S = (1.0, 60.0)  # the first pause after a failure, doubled up to the last
LARGE_BYTES = 256 * 1024  # a body that takes more than a millisecond to hash is signed in a thread

log = logging.getLogger("headgate")


class AwsCredentials:
    """One account's credentials, kept fresh from the moment it is made. `region` "" is the environment's."""

    def __init__(self, provider: str, region: str) -> None:
        self._provider = provider
        self._region = region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        self._bearer = os.environ.get(BEARER, "")
        self._source: Any = None  # botocore's credentials, once the chain has found them
        self._frozen: Any = None  # their values at one moment
        self._failed = 0.0  # when the last fetch did, Unix seconds
        self._failure: LLMError | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._renewing = None if self._bearer else asyncio.create_task(self._kept_fresh())

    async def signed(self, sent: UpstreamRequest) -> Mapping[str, str]:
        """The headers of `sent`, signed. Requests that come while credentials are fetched wait for that one fetch.

        Raises LLMError("upstream_auth").
        """
        if self._bearer:
            return {**sent.headers, "authorization": f"Bearer {self._bearer}"}
        if not self._is_fresh():
            if self._failure is None or time.time() - self._failed >= RETRY_S[0]:
                await self._fetched()
            if self._failure is not None and not self._is_fresh():
                raise LLMError(self._failure.kind, self._failure.message)
        if len(sent.body) < LARGE_BYTES:
            return self._signature(sent)
        return await asyncio.to_thread(self._signature, sent)

    async def close(self) -> None:
        """Stop renewing; a fetch under way is left to end by itself."""
        tasks = [task for task in (self._renewing, self._fetching) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _is_fresh(self) -> bool:
        """Whether the values at hand are accepted still: those of a key expire never, others say when."""
        if self._frozen is None:
            return False
        expiring = getattr(self._source, "refresh_needed", None)
        return expiring is None or not expiring(0)

    def _signature(self, sent: UpstreamRequest) -> dict[str, str]:
        from botocore.auth import SigV4Auth  # type: ignore[import-untyped]
        from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]

        request = AWSRequest("POST", sent.url, headers=dict(sent.headers), data=sent.body)
        SigV4Auth(self._frozen, SIGNING_NAME, self._region).add_auth(request)
        return {name.lower(): value for name, value in request.headers.items()}

    async def _kept_fresh(self) -> None:
        pause = RETRY_S[0]
        while True:
            await self._fetched()
            if self._failure is None:
                pause = RETRY_S[0]
                await asyncio.sleep(RENEW_S)
            else:
                log.warning("%s (%s)", self._failure.message, self._failure.__cause__)
                await asyncio.sleep(pause)
                pause = min(2 * pause, RETRY_S[1])

    async def _fetched(self) -> None:
        """Wait for the fetch under way, or for a new one."""
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._fetch())
        await asyncio.shield(self._fetching)  # who waits may go away; the others still want it

    async def _fetch(self) -> None:
        try:
            self._source, self._frozen = await asyncio.to_thread(self._found)
            self._failure = None
        except LLMError as failure:
            self._failure, self._failed = failure, time.time()

    def _found(self) -> tuple[Any, Any]:
        """The credentials that botocore's chain finds, and their values, renewed where that is due. Blocks."""
        try:
            from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]
            from botocore.session import Session  # type: ignore[import-untyped]
        except ImportError as error:
            why = f"needs `pip install 'headgate[bedrock]'`, or an `api_key` ({BEARER})"
            raise self._lack(why) from error
        try:
            source = self._source or Session().get_credentials()
            frozen = source.get_frozen_credentials() if source is not None else None
        except (BotoCoreError, OSError, ValueError, KeyError, RuntimeError) as error:
            raise self._lack("AWS's credential chain failed") from error
        if frozen is None or not frozen.access_key:
            raise self._lack("AWS's credential chain found none (environment, profile, container, instance)")
        return source, frozen

    def _lack(self, why: str) -> LLMError:
        return LLMError("upstream_auth", f"There are no AWS credentials for the provider {self._provider!r}: {why}")
