"""Addresses of network cameras: parsing the password, hiding it, and reading it from elsewhere."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from edgeseg.errors import InputError

LOGIN = "EDGESEG_CAMERA_LOGIN"
"""The variable that holds USER:PASSWORD for a camera whose address has none."""
HIDDEN = "***"
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"']+")
SECRET = re.compile(r"(?i)([?&;\s](?:[\w-]*(?:pass|pwd|token|secret|key|auth|sig)[\w-]*|user-pw)=)([^&;#\s\"']+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A user's name and password, decoded."""

    user: str
    password: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An address without the login, and the login."""

    uri: str
    login: Login | None = None

    @property
    def shown(self) -> str:
        """The address without its password, for printing."""
        scheme, _, rest = self.uri.partition("://")
        # A password with a raw @ and a raw / is split at the wrong place: hide everything up to the last @.
        return redacted(self.uri if self.login is None else f"{scheme}://{rest.rpartition('@')[2]}")

    def full(self) -> str:
        """Return the address with user and password in it, each percent-encoded (RFC 3986, 3.2.1)."""
        if self.login is None:
            return self.uri
        scheme, _, rest = self.uri.partition("://")
        return f"{scheme}://{quote(self.login.user, safe='')}:{quote(self.login.password, safe='')}@{rest}"

    def moved(self, uri: str) -> Address:
        """Return where a redirect leads; another host does not get the password."""
        target = address_of(uri)
        same = urlsplit(target.uri).hostname == urlsplit(self.uri).hostname
        return replace(target, login=target.login or (self.login if same else None))


def address_of(text: str) -> Address:
    """Return the address in `text`. A password may hold `@` and `/`, as people paste it, or be percent-encoded."""
    scheme, _, rest = text.partition("://")
    end = _end_of_login(rest)
    if end is None:
        return Address(uri=text)
    user, _, password = rest[:end].partition(":")
    return Address(uri=f"{scheme}://{rest[end + 1 :]}", login=Login(user=unquote(user), password=unquote(password)))


def with_login(address: Address, *, file: str | None) -> Address:
    """Return the address with the login in `file` (USER:PASSWORD), or, if it has none, in EDGESEG_CAMERA_LOGIN.

    Raises:
        InputError: the file cannot be read, or holds no USER:PASSWORD.
    """
    if file is None:
        text, origin = os.environ.get(LOGIN, ""), LOGIN
        if address.login is not None or not text:
            return address
    else:
        origin = file
        try:
            text = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{file}: the camera's login cannot be read: {error}.") from None
    user, colon, password = text.partition(":")
    if not user or not colon:
        raise InputError(f"{origin}: does not contain USER:PASSWORD.")
    return replace(address, login=Login(user=user, password=password))


def login_in_sight(text: str) -> str | None:
    """Return a warning where an address given on a command line holds a password, None where it does not."""
    if ADDRESS.match(text) is None:
        return None
    login = address_of(text).login
    if (login is None or not login.password) and SECRET.search(text) is None:
        return None
    return (
        "The password in --source is visible to everybody on this machine (ps, /proc). "
        f"Give it in {LOGIN}=USER:PASSWORD, or in a file: --source 'ADDRESS#login=FILE'."
    )


def redacted(text: str) -> str:
    """Return `text` with every address in it without user and password, and values of secret parameters hidden."""
    return SECRET.sub(rf"\g<1>{HIDDEN}", ADDRESS.sub(lambda match: _redacted(match[0]), text))


def _redacted(uri: str) -> str:
    scheme, _, rest = uri.partition("://")
    before, at, after = rest.rpartition("@")
    # Better to hide a path that contains an @ than to show half of a password that contains a slash.
    if at and (":" in before or "/" not in before):
        return f"{scheme}://{after}"
    return uri


def _end_of_login(rest: str) -> int | None:
    """Return the position of the @ behind the login, None without a login."""
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        return authority.rindex("@")
    _, colon, port = authority.partition(":")
    if colon and not port.isdecimal() and not authority.startswith("[") and "@" in rest:
        return rest.rindex("@")
    return None
