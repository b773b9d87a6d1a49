"""Where a session connects to, from the arguments of ``connect()`` and the process's environment.

The promise
    The environment is a mapping that the shell has read: this module reads none. Invalid arguments are refused when the
    source is made, before anything is opened. A credential that changes is fetched again for each handshake
    (:attr:`EndpointSource.key_refresh`). No message, ``repr`` or traceback shows a credential (``sansio/secret.py``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from .endpoint import (
    PUBLIC_BASE_URL,
    Endpoint,
    checked_key,
    endpoint,
    endpoint_from_client,
    key_refresh,
    needs_key,
)
from .errors import UserError
from .secret import Secret, discreet

__all__ = ["EndpointSource"]


class EndpointSource:
    """Where to connect to, from the arguments of ``connect()`` (DESIGN.md, "Public API").

    ``environment`` holds the process's variables. ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY`` are read from it, but not
    if a client is given, because the client has read them.

    Raises UserError for arguments that cannot be used, and if there is no key for the public endpoint.
    """

    @discreet
    def __init__(
        self,
        *,
        base_url: str | None,
        api_key: str | None,
        client: object | None,
        headers: Mapping[str, Any] | None,
        query: Mapping[str, Any] | None,
        environment: Mapping[str, str],
    ) -> None:
        self._client = client
        self._headers = headers
        self._query = query
        self._api_key = checked_key(api_key)
        self._base_url: object = base_url
        if client is None:
            self._base_url = base_url or environment.get("OPENAI_BASE_URL") or PUBLIC_BASE_URL
            self._api_key = self._api_key or checked_key(environment.get("OPENAI_API_KEY"))
        self.initial = self.endpoint()
        """The endpoint at the time when the source was made."""
        if client is None and needs_key(self.initial):
            raise UserError(
                "there is no API key: pass api_key=, set OPENAI_API_KEY, or name a server that needs none by base_url="
            )

    @property
    def client(self) -> object | None:
        """The caller's OpenAI client, if there is one."""
        return self._client

    @property
    def identity(self) -> tuple[object, ...]:
        """Sources with equal identities may share connections: URL and headers are equal (PARITY C3).

        A credential that is fetched again for each handshake is not part of it.
        """
        url, headers = self.initial.identity
        if self.key_refresh is not None:
            headers = tuple(pair for pair in headers if pair[0] not in ("authorization", "api-key"))
        return url, headers

    @property
    def key_refresh(self) -> Callable[[], Awaitable[str | None]] | None:
        """A function to await before each handshake; its result is passed to :meth:`endpoint`. None: the key is
        fixed."""
        return None if self._client is None or self._api_key is not None else key_refresh(self._client)

    def endpoint(self, fresh_key: str | Secret | None = None) -> Endpoint:
        """The endpoint with the present credential. Raises UserError for a key that cannot be sent."""
        key = checked_key(fresh_key) or self._api_key
        if self._client is None:
            return endpoint(self._base_url or PUBLIC_BASE_URL, api_key=key, headers=self._headers, query=self._query)
        return endpoint_from_client(
            self._client, base_url=self._base_url, api_key=key, headers=self._headers, query=self._query
        )
