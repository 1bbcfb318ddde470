"""The site that `edgeseg serve` offers: the page, the artifacts, the engines' files, and where runs are posted."""

from __future__ import annotations

import base64
import hashlib
import http
import json
import re
import threading
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Literal

from edgeseg.bench.record import write_measurement
from edgeseg.core.receipt import write_receipt
from edgeseg.core.version import VERSION
from edgeseg.devices.browser.judging import judge_run
from edgeseg.devices.browser.posted import MOST_RUNS
from edgeseg.errors import EdgesegError
from edgeseg.runtime.session.verify import receipt_of
from edgeseg.runtime.web.site import BASE_SHEET, CONTENT_TYPES, JSON, Site, WebAnswer, packaged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from edgeseg.core.measurement import Measurement
    from edgeseg.devices.browser.judging import JudgedRun
    from edgeseg.devices.browser.offer import Offer
    from edgeseg.runtime.web.site import WebRequest
    from edgeseg.toolchains import Toolchain

PAGE_FILES = (
    "bench.html", "bench.css", "bench.js", "camera.js", "desk.js", "engines.js", "labels.js", "measuring.js",
    "pixels.js", "sha256.js",
)  # fmt: skip
_RUN_BYTES = 16
_JSON_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One posted run: what it was judged to be, and the files that were written; `error` where it was refused."""

    device: str
    artifact: str
    kind: Literal["verified", "measured", "refused"]
    agreement: float | None = None
    measurement: Measurement | None = None
    receipt: Path | None = None
    record: Path | None = None
    error: str = ""


class BenchSite(Site):
    """Serves `offers` with the engines in `runtime`, and writes measurements into `out` and receipts beside artifacts.

    `on_received` is called for each posted run, from the thread that received it. `certificate` is the file of this
    machine's own one, which a phone may download to trust it.
    """

    def __init__(
        self,
        offers: Sequence[Offer],
        *,
        tool: Toolchain,
        runtime: Path,
        out: Path,
        on_received: Callable[[Received], None],
        certificate: Path | None = None,
    ) -> None:
        self._offers = tuple(offers)
        self._runtime = runtime
        self._files = frozenset(tool.files)
        self._out = out
        self._on_received = on_received
        self._certificate = certificate
        self._versions = {offer.engine.name: tool.pinned[offer.engine.package] for offer in offers}
        self._writing = threading.Lock()
        self.headers: Mapping[str, str] = _headers()
        self.most_bytes = _JSON_BYTES + _RUN_BYTES * MOST_RUNS + max(map(_posted_bytes, offers))
        about = {
            "edgeseg": VERSION,
            "certificate": certificate is not None,
            "artifacts": [
                offer.description(engine_version=self._versions[offer.engine.name]) for offer in self._offers
            ],
        }
        self._about = json.dumps(about, ensure_ascii=False).encode()

    def answer(self, request: WebRequest) -> WebAnswer | None:
        """Return the page, one of its files, or the judgement of a posted run."""
        if request.method == "POST":
            return self._post(request.body) if request.path == "/runs" else None
        name = request.path.removeprefix("/") or "bench.html"
        if name == BASE_SHEET:
            return packaged("edgeseg.runtime.web", name)
        if name in PAGE_FILES:
            return packaged(__package__, name)
        if name == "about":
            return WebAnswer(body=self._about, kind=JSON)
        return self._file(name)

    def close(self) -> None:
        """Do nothing: no request waits here."""

    def _file(self, name: str) -> WebAnswer | None:
        """Return a file of the engines, of an artifact, or the certificate; None for every other name."""
        room, _, inside = name.partition("/")
        if name == "certificate.crt" and self._certificate is not None:
            return WebAnswer(body=self._certificate, kind="application/x-x509-ca-cert")
        if room == "runtime" and inside in self._files:
            return _sent(self._runtime / inside)
        sha256, _, path = inside.partition("/")
        for offer in self._offers:
            if room == "artifacts" and offer.artifact.sha256 == sha256 and path in offer.files:
                return _sent(offer.artifact.folder / path)
        return None

    def _post(self, message: bytes) -> WebAnswer:
        try:
            judged = judge_run(message, self._offers, versions=self._versions)
        except EdgesegError as error:
            refused = Received(device="", artifact="", kind="refused", error=str(error))
            self._on_received(refused)
            body = json.dumps({"error": str(error), "agreement": getattr(error, "agreement", None)})
            return WebAnswer(status=http.HTTPStatus.UNPROCESSABLE_ENTITY, body=body.encode(), kind=JSON)
        try:
            with self._writing:  # two pages may post at once, and a file's name is chosen before it is written
                received = self._stored(judged)
        except EdgesegError as error:  # a full disk, say: sending it again may help
            self._on_received(Received(device="", artifact="", kind="refused", error=str(error)))
            body = json.dumps({"error": str(error)})
            return WebAnswer(status=http.HTTPStatus.INSUFFICIENT_STORAGE, body=body.encode(), kind=JSON)
        self._on_received(received)
        return WebAnswer(body=json.dumps(_reply(judged, received), ensure_ascii=False).encode(), kind=JSON)

    def _stored(self, judged: JudgedRun) -> Received:
        receipt = write_receipt(
            receipt_of(judged.verification, device=judged.device.strip()), judged.offer.artifact.folder
        )
        record = None if judged.measurement is None else write_measurement(judged.measurement, self._out)
        return Received(
            device=judged.device.strip(),
            artifact=judged.verification.artifact,
            kind="verified" if record is None else "measured",
            agreement=judged.verification.agreement,
            measurement=judged.measurement,
            receipt=receipt,
            record=record,
        )


def _reply(judged: JudgedRun, received: Received) -> dict[str, object]:
    found = judged.verification
    return {
        "agreement": found.agreement,
        "min_agreement": found.min_agreement,
        "reference_agreement": found.reference_agreement,
        "samples": found.samples,
        "receipt": None if received.receipt is None else received.receipt.name,
        "record": None if received.record is None else received.record.name,
    }


def _sent(path: Path) -> WebAnswer:
    return WebAnswer(body=path, kind=CONTENT_TYPES.get(path.suffix, "application/octet-stream"))


def _posted_bytes(offer: Offer) -> int:
    """Return the bytes of an artifact's golden outputs, at most eight for a number."""
    manifest = offer.artifact.manifest
    values = 1
    for side in manifest.outputs[0].shape:
        values *= side
    return len(manifest.golden.samples) * 8 * values


def _headers() -> dict[str, str]:
    """Return the page's own headers: WebAssembly, workers, and the isolation that threads need (COOP, COEP)."""
    page = resources.files(__package__).joinpath("bench.html").read_text("utf-8")
    found = re.search(r'<script type="importmap">(.*?)</script>', page, re.DOTALL)
    assert found is not None, "bench.html has an import map"
    digest = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; script-src 'self' 'wasm-unsafe-eval' 'sha256-{digest}'; style-src 'self'; "
            "connect-src 'self' blob: data:; img-src 'self' blob: data:; worker-src 'self' blob:; media-src 'self' "
            "blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Embedder-Policy": "require-corp",
        "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    }
