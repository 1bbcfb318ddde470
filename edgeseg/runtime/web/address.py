"""Where the page is served, and who has access."""

from __future__ import annotations

import ipaddress
import re
import secrets
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

from edgeseg.core.suggestions import unknown
from edgeseg.errors import InputError

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8080
TOKEN_BYTES = 18
LEAST_TOKEN = 16
_FILES = ("token", "cert", "key")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebAddress:
    """A host (a name, or an IP address without brackets) and a port; 0 is any free one.

    `token_file` holds the access token, one line; `certificate` and `key` (PEM files) turn TLS on.
    """

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    token_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @property
    def text(self) -> str:
        """The address as `web_address` reads it."""
        files = {"token": self.token_file, "cert": self.certificate, "key": self.key}
        query = urlencode({name: str(path) for name, path in files.items() if path is not None})
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" + (f"?{query}" if query else "")

    def token(self) -> str | None:
        """Return the token of the file; without one a new one, or None where only this machine can reach the page.

        Raises:
            InputError: the file cannot be read, or its token is too short.
        """
        if self.token_file is None:
            return None if self.is_loopback else secrets.token_urlsafe(TOKEN_BYTES)
        try:
            found = self.token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{self.token_file}: the token cannot be read: {error}.") from None
        if not re.fullmatch(r"[A-Za-z0-9._~-]+", found) or len(found) < LEAST_TOKEN:
            raise InputError(
                f"{self.token_file}: a token is one line of at least {LEAST_TOKEN} letters, digits, - . _ or ~. "
                f"Make one with: openssl rand -hex 24 > {self.token_file}"
            )
        return found

    def tls(self) -> ssl.SSLContext | None:
        """Return the TLS settings, None without a certificate; raises `InputError` where the files are no pair."""
        if self.certificate is None:
            if self.key is not None:
                raise InputError(f"{self.key}: a key needs its certificate. Give --tls-cert too.")
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise InputError(f"{self.certificate}: TLS cannot use this certificate and its key: {reason}.") from None
        return context

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def is_any(self) -> bool:
        """Whether it stands for every interface of this machine."""
        try:
            return ipaddress.ip_address(self.host).is_unspecified
        except ValueError:
            return False


def web_address(text: str) -> WebAddress:
    """Return the address of `HOST:PORT`, `HOST`, `PORT`, `:PORT` (every interface) or `[IPv6]:PORT`.

    `?token=FILE&cert=FILE&key=FILE` behind it names its files.

    Raises:
        InputError: the text has another form.
    """
    place, _, query = text.partition("?")
    match = re.fullmatch(r"(?:(\d{1,5})|(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]*))(?::(\d{1,5}))?)", place)
    if not match or not place:
        raise InputError(f'--web "{place}" is not HOST:PORT. Write for example --web 0.0.0.0:8080.')
    port = int(match[1] or match[4] or DEFAULT_PORT)
    if port > 65535:
        raise InputError(f'--web "{place}": port {port} does not exist; give 0 to 65535.')
    host = DEFAULT_HOST if match[1] else match[2] or match[3] or "0.0.0.0"
    files = {name: Path(value) for name, value in parse_qsl(query)}
    for name in files:
        if name not in _FILES:
            raise unknown("option of --web", name, _FILES)
    return WebAddress(
        host=host, port=port, token_file=files.get("token"), certificate=files.get("cert"), key=files.get("key")
    )


def announced(url: str, address: WebAddress) -> str:
    """Return the message for a page that is served at `url`: who can open it, and whether it is encrypted."""
    if address.is_loopback:
        return f"Web page: {url} (this machine only)"
    who = "anyone with this address" if address.token_file is None else f"anyone with the token in {address.token_file}"
    how = "nothing is encrypted: use a network that you trust" if address.certificate is None else "encrypted by TLS"
    return f"Web page: {url}\nVisible to {who}; {how}."


def reachable_name() -> str:
    """Return the address under which others on the network most likely reach this machine; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a datagram socket only asks the routing table. 192.0.2.0/24 is for documentation (RFC 5737).
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
