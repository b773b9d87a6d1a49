"""TLS for ``turnwire serve``: certificates from files, or one that is made now, for tests."""

from __future__ import annotations

import ipaddress
import ssl
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, cast

from ...sansio.errors import UserError

__all__ = ["Tls", "given_tls", "made_tls"]


class Tls(NamedTuple):
    """What a server needs for TLS, and what its clients need."""

    context: ssl.SSLContext
    ca: Path | None
    """The file with the certificate that clients are to trust; None if it is one that they know."""


def given_tls(certificate: Path, key: Path | None) -> Tls:
    """TLS with a certificate in PEM, and its key, which may be in the same file. Raises UserError."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as exc:
        raise UserError(f"cannot use the certificate in {certificate}: {exc}") from exc
    return Tls(context, None)


def made_tls(host: str, ca: Path | None, files: ExitStack) -> Tls:
    """TLS with a certificate for ``host`` and ``localhost`` that is made now, by an authority that is made now; its own
    certificate is put into the file ``ca``, or into one that is removed when ``files`` is closed. Raises UserError."""
    try:
        import trustme
    except ImportError:
        raise UserError(
            "--tls makes a certificate with trustme, which is not installed: pip install 'turnwire[tls-test]', or give "
            "a certificate by --tls-cert FILE and --tls-key FILE"
        ) from None
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    names = dict.fromkeys((host, "localhost", "127.0.0.1", "::1"))
    made = cast("Any", authority.issue_cert(*(name for name in names if _certifiable(name))))
    made.configure_cert(context)
    if ca is None:
        ca = Path(files.enter_context(tempfile.TemporaryDirectory(prefix="turnwire-"))) / "ca.pem"
    try:
        authority.cert_pem.write_to_path(ca)
    except OSError as exc:
        raise UserError(f"cannot write {ca}: {exc.strerror}") from exc
    return Tls(context, ca)


def _certifiable(name: str) -> bool:
    """Whether a certificate can be for it: not for an address that stands for all of them."""
    try:
        return not ipaddress.ip_address(name).is_unspecified
    except ValueError:
        return bool(name)
