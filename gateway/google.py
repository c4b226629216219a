"""Google's access tokens, by google-auth (extra `headgate[vertex]`), fetched in a thread.

A credentials file may be a service account's, a user's (`gcloud auth application-default login`), or of any other kind
that google-auth knows; its `token_uri` is where tokens come from. Without a file: the application default credentials.
"""

import asyncio
import json
import logging
import os
import time
from collections.abc import Mapping
from datetime import UTC
from functools import partial
from pathlib import Path
from typing import Any

from translators.errors import Kind, LLMError
from translators.exchange import UpstreamRequest

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
RENEW_S = 300.0  # before a token expires, or half of its life where that is shorter; Google's last an hour
LEAST_RENEW_S = 1.0
RETRY_S = (1.0, 60.0)  # the first pause after a failure, doubled up to the last
TIMEOUT_S = 15.0  # of one call to the issuer

log = logging.getLogger("headgate")


class GoogleCredentials:
    """One account's token, kept fresh from the moment it is made. `file` "" stands for the default credentials."""

    def __init__(self, provider: str, file: str) -> None:
        self._provider = provider
        self._file = file
        self._source: Any = None  # google-auth's own credentials, once they are read
        self._token = ""
        self._billed = ""  # the project whose quota is used, where the credentials name one
        self._expires = 0.0  # Unix seconds
        self._failed = 0.0  # when the last fetch did, Unix seconds
        self._failure: LLMError | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._renewing = asyncio.create_task(self._kept_fresh())

    async def signed(self, sent: UpstreamRequest) -> Mapping[str, str]:
        """The headers of `sent` and the token. Requests that come while it is fetched wait for that one fetch.

        Raises LLMError("upstream_auth"), or ("connect") when the issuer cannot be reached.
        """
        if time.time() >= self._expires:
            if self._failure is None or time.time() - self._failed >= RETRY_S[0]:
                await self._fetched()
            if self._failure is not None:
                raise LLMError(self._failure.kind, self._failure.message)
        billed = {"x-goog-user-project": self._billed} if self._billed else {}
        return {**sent.headers, "authorization": f"Bearer {self._token}", **billed}

    async def close(self) -> None:
        """Stop renewing; a fetch under way is left to end by itself."""
        tasks = [task for task in (self._renewing, self._fetching) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _kept_fresh(self) -> None:
        pause, told = RETRY_S[0], ""
        while True:
            await self._fetched()
            left = self._expires - time.time()
            if self._failure is None:
                pause, told = RETRY_S[0], ""
                await asyncio.sleep(max(LEAST_RENEW_S, left - min(RENEW_S, left / 2)))
            else:
                if self._failure.message != told:  # once, not at every try
                    told = self._failure.message
                    log.warning("%s (%s)", told, self._failure.__cause__)
                await asyncio.sleep(pause)
                pause = min(2 * pause, RETRY_S[1])

    async def _fetched(self) -> None:
        """Wait for the fetch under way, or for a new one."""
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._fetch())
        await asyncio.shield(self._fetching)  # who waits may go away; the others still want it

    async def _fetch(self) -> None:
        try:
            self._token, self._expires = await asyncio.to_thread(self._renewed)
            self._failure = None
        except LLMError as failure:
            self._failure, self._failed = failure, time.time()

    def _renewed(self) -> tuple[str, float]:
        """A new token, and when it expires in Unix seconds. Blocks."""
        try:
            from google.auth import exceptions
            from google.auth.transport.requests import Request
        except ImportError as error:
            raise self._lack("upstream_auth", "needs `pip install 'headgate[vertex]'`") from error
        try:
            if self._source is None:
                self._source = _read(self._file or os.environ.get("GOOGLE_APPLICATION_CREDENTIALS", ""))
            self._source.refresh(partial(Request(), timeout=TIMEOUT_S))
        except exceptions.TransportError as error:
            raise self._lack("connect", "the issuer of its tokens cannot be reached") from error
        except exceptions.GoogleAuthError as error:
            kind: Kind = "connect" if error.retryable else "upstream_auth"
            raise self._lack(kind, "its credentials were not accepted") from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._lack("upstream_auth", "its credentials cannot be read") from error
        self._billed = str(self._source.quota_project_id or "")
        expiry = self._source.expiry
        return str(self._source.token), expiry.replace(tzinfo=UTC).timestamp() if expiry else float("inf")

    def _lack(self, kind: Kind, why: str) -> LLMError:
        return LLMError(kind, f"There is no access token for the provider {self._provider!r}: {why}")


def _read(file: str) -> Any:
    """google-auth's credentials of a file, "" for the default ones. Raises its GoogleAuthError, OSError, ValueError."""
    import google.auth
    from google.oauth2 import credentials, service_account

    if not file:
        return google.auth.default(scopes=[SCOPE])[0]
    told = json.loads(Path(file).read_text(encoding="utf-8"))
    match told["type"]:
        case "service_account":
            made: Any = service_account.Credentials
            return made.from_service_account_info(told, scopes=[SCOPE])
        case "authorized_user":  # google-auth's own reader of these leaves their token_uri aside
            made = credentials.Credentials
            return made(
                None,
                refresh_token=told["refresh_token"],
                token_uri=told.get("token_uri", "https://oauth2.googleapis.com/token"),
                client_id=told["client_id"],
                client_secret=told["client_secret"],
                quota_project_id=told.get("quota_project_id"),
                scopes=[SCOPE],
            )
        case "external_account":
            return _of_a_workload(told).from_info(told, scopes=[SCOPE])
    load: Any = google.auth.load_credentials_from_dict
    return load(told, scopes=[SCOPE])[0]


def _of_a_workload(told: dict[str, Any]) -> Any:
    """google-auth's class for an account elsewhere. Its own choice (_default.py) also asks Google for the project."""
    from google.auth import aws, identity_pool, pluggable

    if told["subject_token_type"] == "urn:ietf:params:aws:token-type:aws4_request":  # noqa: S105 - a kind of token
        return aws.Credentials
    return pluggable.Credentials if "executable" in told["credential_source"] else identity_pool.Credentials
