"""Google's access tokens, by google-auth (extra `vertex`), fetched in a thread.

A credentials file may be a service account's, a user's (`gcloud auth application-default login`), or of any other kind
that google-auth knows; its `token_uri` is where tokens come from. Without a file: the application default credentials.
"""

import json
import os
import time
from collections.abc import Mapping
from datetime import UTC
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from gateway.credentials.renewal import Renewal
from translators.errors import Kind, LLMError
from translators.exchange import UpstreamRequest

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
RENEW_S = 300.0  # before a token expires, or half of its life where that is shorter; Google's last an hour
LEAST_RENEW_S = 1.0
TIMEOUT_S = 15.0  # of one call to the issuer


class Token(NamedTuple):
    text: str
    billed: str  # the project whose quota is used, where the credentials name one
    expires: float  # Unix seconds


class GoogleCredentials:
    """One account's token, kept fresh from the moment it is made. `file` "" stands for the default credentials."""

    def __init__(self, provider: str, file: str) -> None:
        self._provider = provider
        self._file = file
        self._source: Any = None  # google-auth's own credentials, once they are read
        self._renewal = Renewal(self._renewed, lambda token: time.time() < token.expires, _due_s)

    async def signed(self, sent: UpstreamRequest) -> Mapping[str, str]:
        """The headers of `sent` and the token. Requests that come while it is fetched wait for that one fetch.

        Raises LLMError("upstream_auth"), or ("connect") when the issuer cannot be reached.
        """
        token = await self._renewal.fresh()
        billed = {"x-goog-user-project": token.billed} if token.billed else {}
        return {**sent.headers, "authorization": f"Bearer {token.text}", **billed}

    async def close(self) -> None:
        """Stop renewing; a fetch under way is left to end by itself."""
        await self._renewal.close()

    def _renewed(self) -> Token:
        """A new token. Blocks."""
        try:
            from google.auth import exceptions
            from google.auth.transport.requests import Request
        except ImportError as error:
            raise self._lack("upstream_auth", "needs the extra `vertex`: `pip install '.[vertex]'`") from error
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
        billed, expiry = str(self._source.quota_project_id or ""), self._source.expiry
        expires = expiry.replace(tzinfo=UTC).timestamp() if expiry else float("inf")
        return Token(str(self._source.token), billed, expires)

    def _lack(self, kind: Kind, why: str) -> LLMError:
        return LLMError(kind, f"There is no access token for the provider {self._provider!r}: {why}")


def _due_s(token: Token) -> float:
    left = token.expires - time.time()
    return max(LEAST_RENEW_S, left - min(RENEW_S, left / 2))


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
