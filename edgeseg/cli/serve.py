"""`edgeseg serve ARTIFACT...`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from edgeseg.devices.browser import Received
    from edgeseg.runtime.web import WebAddress
    from edgeseg.verbs.serve import Serving

HELP = "run artifacts in any browser: a page verifies and measures them there, and sends the results back"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from edgeseg.cli.options import positive

    parser.add_argument(
        "artifacts", metavar="ARTIFACT", nargs="+", type=Path, help="folders that edgeseg convert wrote: tflite, onnx"
    )
    parser.add_argument(
        "--web", metavar="HOST:PORT", default="127.0.0.1:8080", help="where to serve the page (default: %(default)s)"
    )
    parser.add_argument("--tls", action="store_true", help="serve https with a certificate made for this machine")
    parser.add_argument("--tls-cert", metavar="FILE", type=Path, help="serve https with this certificate (PEM)")
    parser.add_argument("--tls-key", metavar="FILE", type=Path, help="the certificate's key, if it is a separate file")
    parser.add_argument(
        "--token-file", metavar="FILE", type=Path, help="require the token in FILE, instead of a random one"
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=Path("results"), help="folder for measurements (default: results)"
    )
    parser.add_argument("--records", metavar="N", type=positive, help="stop after N measurements (default: at Ctrl-C)")


def run(options: argparse.Namespace) -> int:
    """Serve the page until enough measurements came, or until Ctrl-C."""
    from edgeseg.cli import render
    from edgeseg.verbs.serve import serve

    shown = render.say if options.json else render.result
    served = serve(
        options.artifacts,
        address=_address(options),
        tls=options.tls,
        out=options.out,
        records=options.records,
        on_open=lambda serving: shown(_opened(serving)),
        on_received=lambda item: shown(_line(item)),
    )
    if options.json:
        render.result_json({"received": served.received})
    elif served.measured:
        render.result(f"{render.counted(len(served.measured), 'measurement')}. Compare: edgeseg compare {options.out}")
    return 130 if served.interrupted else 0


def _address(options: argparse.Namespace) -> WebAddress:
    from edgeseg.cli.options import UsageError, page_address

    if options.tls and (options.tls_cert or options.tls_key):
        raise UsageError("--tls makes a certificate; --tls-cert gives one. Give one of them.")
    return page_address(options)


def _opened(serving: Serving) -> str:
    from edgeseg.runtime.web.address import announced

    lines = [announced(serving.url, serving.address), *_code(serving.url)]
    if serving.fingerprint:
        lines.append(f"The browser warns once: this certificate signs itself. Its SHA-256 is\n  {serving.fingerprint}")
    if serving.address.is_loopback:
        lines.append(
            f"An Android phone by USB: adb reverse tcp:{serving.port} tcp:{serving.port}, then scan the code.\n"
            "Other devices: --web 0.0.0.0:8080 --tls."
        )
    elif serving.address.certificate is None:
        lines.append("Without --tls, browsers on other devices give no camera, no threads and no WebGPU.")
    return "\n".join((*lines, "Ctrl-C ends it."))


def _code(url: str) -> list[str]:
    try:
        import segno
    except ImportError:
        return ['For a QR code: pip install "edgeseg[serve]".']
    rows = [[bool(cell) for cell in row] for row in segno.make(url, error="l", micro=False).matrix_iter(border=2)]
    if len(rows) % 2:
        rows.append([False] * len(rows[0]))
    # Two modules a character, light ones drawn: right on the dark background that most terminals have.
    blocks = {(False, False): "█", (False, True): "▀", (True, False): "▄", (True, True): " "}
    return [
        "".join(blocks[pair] for pair in zip(upper, lower, strict=True))
        for upper, lower in zip(rows[::2], rows[1::2], strict=True)
    ]


def _line(item: Received) -> str:
    if item.kind == "refused":
        return f"Refused: {item.error}"
    agreement = f"{100 * (item.agreement or 0):.2f} % of the golden labels"
    line = f"{item.device}: {item.artifact} gives {agreement}"
    total = None if item.measurement is None else item.measurement.stage("total")
    if total is None or item.measurement is None:
        return f"{line}; receipt {item.receipt}"
    tail = "" if total.p99_ms is None else f", p99 {total.p99_ms:.1f}"
    ran = f"{item.measurement.engine}, {item.measurement.engine_options['accelerator']}, {item.measurement.threads}t"
    p90 = "" if total.p90_ms is None else f", p90 {total.p90_ms:.1f}"
    return f"{line}; p50 {total.p50_ms:.1f} ms{p90}{tail} ({ran}); {item.record}"
