"""Where the page is served, and who may see it."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from edgeseg.errors import InputError

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8080


@dataclass(frozen=True, slots=True, kw_only=True)
class WebAddress:
    """A host (a name, or an IP address without brackets) and a port; 0 is any free one."""

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT

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

    Raises:
        InputError: it is none of these.
    """
    match = re.fullmatch(r"(?:(\d{1,5})|(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]*))(?::(\d{1,5}))?)", text)
    if not match or not text:
        raise InputError(f'--web "{text}" is not HOST:PORT. Write for example --web 0.0.0.0:8080.')
    port = int(match[1] or match[4] or DEFAULT_PORT)
    if port > 65535:
        raise InputError(f'--web "{text}": port {port} does not exist; give 0 to 65535.')
    if match[1]:
        return WebAddress(port=port)
    return WebAddress(host=match[2] or match[3] or "0.0.0.0", port=port)
