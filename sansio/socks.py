"""SOCKS5: through a proxy to an endpoint, by name or by address (RFC 1928, RFC 1929).

The promise
    What a proxy sends is read byte by byte, at most :data:`LONGEST` of them a message: whatever it is, it gives a
    tunnel or a :class:`~turnwire.sansio.errors.TransportError`. User name and password go to the proxy, and appear
    nowhere else (``sansio/secret.py``).

How it goes
    The proxy speaks when it was spoken to, once each time; a byte too many is a fault. The states, and what moves them:

    =============== ============================== =================================================================
    state           what was sent                  moves to
    =============== ============================== =================================================================
    GREETED         how we can authenticate        REQUESTED: without authentication, and CONNECT is sent
                                                   AUTHENTICATING: user name and password are sent
    AUTHENTICATING  user name and password         REQUESTED: they are accepted, and CONNECT is sent
    REQUESTED       CONNECT, host and port         THROUGH: success, and an address that means nothing to us
    THROUGH         (the bytes are the endpoint's) (it stays)
    =============== ============================== =================================================================

    Anything else raises.

Names
    ``socks5h`` leaves the name of the host to the proxy. ``socks5`` means that this side looks it up: whoever does that
    gives the address to :class:`SocksTunnel`. Without one, the proxy gets the name in either case. If the proxy cannot
    reach that address (``out_of_reach``), another tunnel may lead to another address of the host.

Why no library
    ``socksio`` (1.0.0, of 2020) takes one complete message at a time and leaves it to its user to find where a message
    ends. What is left is three requests, and it does not look at the version, and refuses a name of 128 bytes or more
    in a reply. A test compares the requests.
"""

from __future__ import annotations

import enum
from ipaddress import ip_address
from typing import Final

from .endpoint import Endpoint
from .errors import TransportError, UserError
from .secret import Secret, discreet

__all__ = ["LONGEST", "SocksState", "SocksTunnel", "checked_credential"]

LONGEST: Final = 262
"""Bytes of the longest message of a proxy: a reply with a name of 255."""

_VERSION: Final = 5
_SUBNEGOTIATION: Final = 1
"""The version in the messages of RFC 1929."""
_NO_AUTHENTICATION: Final = 0
_PASSWORD: Final = 2
_CONNECT: Final = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4
_LENGTHS: Final = {_IPV4: 4, _IPV6: 16}
"""How long an address is, by its type; of a name, the length stands before it."""
_MOST: Final = 255
"""Bytes of a user name, and of a password."""

_REASONS: Final = {
    1: "it failed",
    2: "its rules do not allow it",
    3: "the network is unreachable",
    4: "the host is unreachable",
    5: "the host refused the connection",
    6: "the time to live expired",
    7: "it does not support CONNECT",
    8: "it does not support this kind of address",
}
_OF_THE_ADDRESS: Final = frozenset({1, 3, 4, 5, 6, 8})
"""Those that may be otherwise for another address of the same host."""


class SocksState(enum.Enum):
    """How far the exchange got; see the top of the module."""

    GREETED = "greeted"
    AUTHENTICATING = "authenticating"
    REQUESTED = "requested"
    THROUGH = "through"


class SocksTunnel:
    """CONNECT through a SOCKS5 proxy: write :meth:`request`, then what :meth:`receive` gives, until ``through``.

    ``proxy`` is the proxy in words, for messages. ``address``: what this side has found the endpoint's host to be.
    Raises UserError for a user name or password that cannot be sent.

    Source: P-CONN-17.
    """

    @discreet
    def __init__(
        self,
        proxy: str,
        endpoint: Endpoint,
        *,
        username: str | Secret | None = None,
        password: str | Secret | None = None,
        address: str | None = None,
    ) -> None:
        self._proxy = proxy
        self._endpoint = endpoint
        # Without an IPv6 zone: it names an interface of this machine, which means nothing to the proxy (RFC 6874).
        self._host = (endpoint.host if address is None else address).partition("%")[0]
        self._username = checked_credential(username, "user name")
        self._password = checked_credential(password, "password")
        self.state = SocksState.GREETED
        self.out_of_reach = False
        """Whether the proxy has answered that it cannot reach this address; it may reach another one."""
        self._buffer = b""

    @property
    def through(self) -> bool:
        """From here on the bytes are the endpoint's."""
        return self.state is SocksState.THROUGH

    def request(self) -> bytes:
        """What to write first. The same on every call."""
        methods = [_NO_AUTHENTICATION, _PASSWORD] if self._username else [_NO_AUTHENTICATION]
        return bytes([_VERSION, len(methods), *methods])

    def receive(self, data: bytes) -> bytes:
        """Take what the proxy sent, ``b""`` for end of file; return what to write next, perhaps nothing.

        Raises TransportError if the proxy leads nowhere.
        """
        if not data:
            raise self._refused("it ended the connection instead of answering")
        self._buffer += data[: LONGEST + 1]
        size = self._size(self._buffer)
        if len(self._buffer) < size:
            return b""
        if len(self._buffer) > size:
            raise self._refused("it said more than it was asked")
        message, self._buffer = self._buffer, b""
        return self._answered(message)

    def _size(self, message: bytes) -> int:
        """How long the message is that has begun, as far as that is known."""
        if message[0] != (_SUBNEGOTIATION if self.state is SocksState.AUTHENTICATING else _VERSION):
            raise self._refused("it does not speak SOCKS5")
        if self.state is not SocksState.REQUESTED:
            return 2
        if len(message) > 1 and message[1]:  # What follows it is often cut short.
            self.out_of_reach = message[1] in _OF_THE_ADDRESS
            raise self._refused(_REASONS.get(message[1], f"reply {message[1]}"))
        if len(message) < 5:  # Version, reply, a reserved byte, the type of the address, its first byte.
            return 5
        if message[3] == _NAME:
            return 4 + 1 + message[4] + 2
        if message[3] not in _LENGTHS:
            raise self._refused(f"its reply has an address of type {message[3]}")
        return 4 + _LENGTHS[message[3]] + 2

    def _answered(self, message: bytes) -> bytes:
        """The proxy's message is complete; return what to write next."""
        if self.state is SocksState.REQUESTED:
            self.state = SocksState.THROUGH
            return b""
        said = message[1]
        if self.state is SocksState.AUTHENTICATING:
            if said:
                raise self._refused("it does not accept the user name and password")
        elif said == _PASSWORD and self._username:
            self.state = SocksState.AUTHENTICATING
            sent = [secret.reveal().encode() for secret in (self._username, self._password)]
            return bytes([_SUBNEGOTIATION]) + b"".join(bytes([len(each)]) + each for each in sent)
        elif said != _NO_AUTHENTICATION:
            raise self._refused(f"it asks for {'another way' if self._username else 'a user name'} to authenticate")
        self.state = SocksState.REQUESTED
        return bytes([_VERSION, _CONNECT, 0]) + self._target() + self._endpoint.port.to_bytes(2)

    def _target(self) -> bytes:
        try:
            address = ip_address(self._host)
        except ValueError:
            name = self._host.encode("ascii")
            return bytes([_NAME, len(name)]) + name
        return bytes([_IPV4 if address.version == 4 else _IPV6]) + address.packed

    def _refused(self, reason: str) -> TransportError:
        return TransportError(f"the proxy {self._proxy} refused to connect to {self._endpoint.authority}: {reason}")


def checked_credential(value: str | Secret | None, what: str) -> Secret:
    """A user name or password in its wrapping, once it is sure that it can be sent; None is an empty one.

    Raises UserError if it cannot.
    """
    secret = Secret("" if value is None else value)
    try:
        size = len(secret.reveal().encode())
    except UnicodeEncodeError:
        raise UserError(f"the SOCKS proxy's {what} holds half a surrogate pair: write whole characters") from None
    if size > _MOST:
        raise UserError(f"the SOCKS proxy's {what} has {size} bytes: SOCKS5 takes at most {_MOST}")
    return secret
