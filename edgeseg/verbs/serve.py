"""Artifacts on a page that any browser can open: verified, measured and recorded there, judged and stored here."""

from __future__ import annotations

import contextlib
import queue
import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.devices.browser import BenchSite, Received, offer_of, own_certificate
from edgeseg.errors import InputError
from edgeseg.runtime.web import WebAddress
from edgeseg.runtime.web.address import TOKEN_BYTES, reachable_name
from edgeseg.runtime.web.server import start_server
from edgeseg.toolchains import find_toolchain, require_toolchain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

WEB_TOOLCHAIN = "web"
_WAKE_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """The page while it is served, at `address` and `port`; `fingerprint` is that of a certificate made for it.

    `url` has the token in it unless that comes from a file.
    """

    url: str
    address: WebAddress
    port: int
    fingerprint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What browsers posted, in order, and whether an interruption ended it."""

    received: tuple[Received, ...]
    interrupted: bool

    @property
    def measured(self) -> tuple[Received, ...]:
        """Those with a measurement."""
        return tuple(item for item in self.received if item.kind == "measured")


def serve(
    artifacts: Sequence[Path | str],
    *,
    address: WebAddress | None = None,
    tls: bool = False,
    out: Path | str = "results",
    records: int | None = None,
    on_open: Callable[[Serving], None] | None = None,
    on_received: Callable[[Received], None] | None = None,
) -> Served:
    """Return what browsers posted until `records` measurements came, or until an interruption.

    Every page needs the token: it is random and part of the address, or that of `address.token_file`. `tls` makes a
    certificate of this machine's own. Measurements go into `out`, receipts beside the artifacts.

    Raises:
        ArtifactError, UnsupportedError: an artifact that is damaged, or that no browser runs.
        MissingDependency: the browser runtime is not installed, or no certificate can be made.
        InputError: nothing can be served at that address, or `out` cannot be a folder.
    """
    where = address or WebAddress()
    offers = offer_of(artifacts)
    tool, folder = find_toolchain(WEB_TOOLCHAIN), require_toolchain(WEB_TOOLCHAIN).folder
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; measurements go into a folder. Choose another --out.")
    fingerprint = ""
    if tls:
        own = own_certificate(reachable_name() if where.is_any else where.host)
        where, fingerprint = replace(where, certificate=own.certificate, key=own.key), own.fingerprint
    came: queue.SimpleQueue[Received] = queue.SimpleQueue()
    site = BenchSite(
        offers, tool=tool, runtime=folder, out=out, on_received=came.put, certificate=where.certificate if tls else None
    )
    found: list[Received] = []
    interrupted = False
    with _served(site, where) as (url, port):
        if on_open is not None:
            on_open(Serving(url=url, address=where, port=port, fingerprint=fingerprint))
        try:
            while records is None or sum(item.kind == "measured" for item in found) < records:
                # Not without a limit: on Windows, Ctrl-C does not reach a thread that waits forever.
                with contextlib.suppress(queue.Empty):
                    received = came.get(timeout=_WAKE_S)
                    found.append(received)
                    if on_received is not None:
                        on_received(received)
        except KeyboardInterrupt:
            interrupted = True
    return Served(received=tuple(found), interrupted=interrupted)


@contextlib.contextmanager
def _served(site: BenchSite, where: WebAddress) -> Iterator[tuple[str, int]]:
    # On this machine too: other programs and users on it can reach the port, and a phone's apps through adb reverse.
    token = where.token() or secrets.token_urlsafe(TOKEN_BYTES)
    server, url = start_server(site, address=where, token=token)
    try:
        yield url, server.server_address[1]
    finally:
        server.close()
