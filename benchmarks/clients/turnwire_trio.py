"""turnwire's trio shell."""

from __future__ import annotations

from turnwire.trio_shell import connect as connect_session

from ._session import client_of

connect = client_of(connect_session)
