"""A certificate of this machine's own for https, made on request: without one a phone's browser gives no camera."""

from __future__ import annotations

import hashlib
import importlib.util
import ipaddress
import os
import socket
import ssl
import tempfile
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.core.files import write_whole
from edgeseg.errors import InputError, MissingDependency

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509

FOLDER_NAME = "serve"
_DAYS = 397
"""Apple's devices trust no server certificate for longer than 398 days."""
_LEFT = timedelta(days=14)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnCertificate:
    """The PEM files of a certificate and its key; `fingerprint` is the SHA-256 that a browser shows for it."""

    certificate: Path
    key: Path
    fingerprint: str


def own_certificate(host: str, *, folder: Path | None = None) -> OwnCertificate:
    """Return the certificate of this machine for `host`, a name or an address; one that still fits is used again.

    It signs itself, is valid for `host`, this machine's name and localhost only, and for 397 days. The key stays in
    `folder` (edgeseg/serve in the user's configuration folder), readable for its owner alone.

    Raises:
        MissingDependency: the library that makes certificates is not installed.
        InputError: the folder cannot be written.
    """
    _check_library()
    names = list(dict.fromkeys((host, socket.gethostname() or "localhost", "localhost", "127.0.0.1")))
    folder = folder or _folder()
    found = OwnCertificate(certificate=folder / "certificate.pem", key=folder / "key.pem", fingerprint="")
    if not _fits(found, names):
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _make(found, names)
        except OSError as error:
            raise InputError(f"{folder}: the certificate cannot be written: {error.strerror}.") from None
    text = found.certificate.read_text("ascii")
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(text)).hexdigest().upper()
    fingerprint = ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))
    return OwnCertificate(certificate=found.certificate, key=found.key, fingerprint=fingerprint)


def _folder() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "edgeseg" / FOLDER_NAME


def _fits(place: OwnCertificate, names: Sequence[str]) -> bool:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        found = x509.load_pem_x509_certificate(place.certificate.read_bytes())
        held = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        key = load_pem_private_key(place.key.read_bytes(), None)
    except (OSError, ValueError, TypeError, x509.ExtensionNotFound):
        return False
    if key.public_key() != found.public_key():
        return False
    covered = {str(item.value) for item in held}
    return set(names) <= covered and found.not_valid_after_utc - datetime.now(timezone.utc) > _LEFT


def _make(place: OwnCertificate, names: Sequence[str]) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    title = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"edgeseg on {socket.gethostname()}"[:64])])
    now = datetime.now(timezone.utc)
    general = [_general_name(name) for name in names]
    # Phones install only authorities as trusted. This one may vouch for nothing but the names of this machine.
    permitted = [_constraint(name) for name in names]
    made = (
        x509.CertificateBuilder()
        .subject_name(title)
        .issuer_name(title)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName(general), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.NameConstraints(permitted, None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    # A temporary file is readable for its owner alone, and is renamed only when it is whole.
    handle, partial = tempfile.mkstemp(prefix=".key.", dir=place.key.parent)
    with os.fdopen(handle, "wb") as stream:
        stream.write(encoded)
    Path(partial).replace(place.key)
    write_whole(made.public_bytes(serialization.Encoding.PEM), place.certificate)


def _general_name(name: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _constraint(name: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_network(name))
    except ValueError:
        return x509.DNSName(name)


def _check_library() -> None:
    if importlib.util.find_spec("cryptography") is None:
        raise MissingDependency(
            'Certificates need the library "cryptography": pip install "edgeseg[serve]". '
            "Or give your own with --tls-cert and --tls-key."
        )
