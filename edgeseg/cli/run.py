"""`edgeseg run ARTIFACT --source URI`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from edgeseg.runtime import LoopResult
    from edgeseg.runtime.frames.drift_monitor import Observation
    from edgeseg.runtime.web import WebAddress
    from edgeseg.verbs.run import Outputs, RunOutcome

WORTH_SAYING = 1.2
"""Ratio of the engine's own rate to the loop's above which the source is named as the limit."""
HELP = "run the camera loop: a camera, a file, a stream or the synthetic street, to a window, a web page or files"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from edgeseg.cli.options import add_trust, positive
    from edgeseg.cli.reading import add_reading
    from edgeseg.cli.remote import add_device_option

    parser.add_argument(
        "artifact",
        metavar="ARTIFACT",
        type=Path,
        nargs="+",
        help="what edgeseg convert wrote; several for --fps",
    )
    parser.add_argument(
        "--source",
        metavar="URI",
        default="synthetic",
        help="FILE, FOLDER, 0, v4l2:/dev/video0, rtsp://..., http://..., csi://0, gst:..., screen:, synthetic[:seed]",
    )
    parser.add_argument("--save", metavar="FILE", type=Path, help="write the overlay as a video (.mp4, .mkv, .avi)")
    parser.add_argument("--save-labels", metavar="DIR", type=Path, help="write each frame's class indices as a PNG")
    parser.add_argument(
        "--save-areas",
        metavar="FILE",
        type=Path,
        help="write each class's share of pixels in JSON lines (-: stdout)",
    )
    parser.add_argument(
        "--web", metavar="HOST:PORT", nargs="?", const="127.0.0.1:8080", help="serve a live page (default: %(const)s)"
    )
    parser.add_argument("--token-file", metavar="FILE", type=Path, help="with --web: always require the token in FILE")
    parser.add_argument(
        "--tls-cert", metavar="FILE", type=Path, help="with --web: serve https with this certificate (PEM)"
    )
    parser.add_argument("--tls-key", metavar="FILE", type=Path, help="the certificate's key, if it is a separate file")
    parser.add_argument(
        "--sink", metavar="NAME[:ARG]", action="append", default=[], help="any registered sink, also a plug-in's"
    )
    parser.add_argument("--force", action="store_true", help="replace outputs that exist")
    parser.add_argument("--window", action="store_true", help="open a window, also beside files or a page")
    parser.add_argument("--headless", action="store_true", help="open no window")
    parser.add_argument("--no-overlay", action="store_true", help="leave the image plain in the window and the video")
    parser.add_argument("--frames", metavar="N", type=positive, help="stop after N frames")
    parser.add_argument("--size", metavar="HxW", help="ask the source for this HEIGHTxWIDTH")
    parser.add_argument("--pixel-format", metavar="CODE", help="ask a camera for this FourCC, such as MJPG or YUYV")
    parser.add_argument(
        "--reconnect", metavar="SECONDS", type=float, help="retry a lost source for this long (default: 30; 0: never)"
    )
    parser.add_argument(
        "--engine", metavar="E", help="litert, onnxruntime, openvino, ... (default: the artifact's own)"
    )
    parser.add_argument(
        "--threads",
        metavar="N",
        type=_threads,
        default="auto",
        help="engine threads (default: best of a short trial)",
    )
    add_device_option(parser)
    add_trust(parser)
    add_reading(parser)


def run(options: argparse.Namespace) -> int:
    """Run the loop, and print how it went."""
    from edgeseg.cli import render
    from edgeseg.cli.options import check_origin, size_of
    from edgeseg.cli.reading import reading_of
    from edgeseg.cli.remote import remote_names, run_and_show
    from edgeseg.runtime.cameras.address import login_in_sight
    from edgeseg.runtime.frames.options import artifacts_in
    from edgeseg.verbs.run import run_loop

    if names := remote_names(options):
        shown = (options.save, options.save_labels, options.save_areas, options.web, options.sink, options.headless)
        return run_and_show(options, names, extra=() if any(shown) else ("--headless",))
    artifact, *others = artifacts_in(options.artifact)
    check_origin((artifact, *others), options=options)
    outputs = _outputs(options)
    if warning := login_in_sight(options.source):
        render.say(warning)
    with render.progress(quiet=options.json) as advance:
        outcome = run_loop(
            artifact,
            source=options.source,
            outputs=outputs,
            reading=reading_of(options, others=others),
            overlay=not options.no_overlay,
            frames=options.frames,
            size=size_of(options.size),
            pixel_format=options.pixel_format,
            reconnect_s=options.reconnect,
            engine=options.engine,
            threads=options.threads,
            on_progress=advance,
            on_notice=render.say,
        )
    if outcome.notice:
        render.say(outcome.notice)
    loop = outcome.loop
    if options.json:
        render.result_json({**render.encode_record(loop), **_whole(outcome)})  # type: ignore[dict-item]
    elif outputs.fills_stdout:
        render.say(_summary(outcome))
    else:
        _show(outcome, options)
    if outcome.fault is not None and loop.interrupted:
        render.say(f"edgeseg: {outcome.fault}")
    elif outcome.fault is not None:
        raise outcome.fault
    return 130 if loop.interrupted else 0


def _threads(text: str) -> int | str:
    from edgeseg.cli.options import positive

    return text if text == "auto" else positive(text)


def _outputs(options: argparse.Namespace) -> Outputs:
    from edgeseg.cli.options import UsageError
    from edgeseg.verbs.run import Outputs

    if options.window and options.headless:
        raise UsageError("--window and --headless contradict each other. Give one of them.")
    elsewhere = any((options.save, options.save_labels, options.save_areas, options.web, options.sink))
    outputs = Outputs(
        save=options.save,
        labels=options.save_labels,
        areas=options.save_areas,
        web=_web(options),
        window=options.window or not (options.headless or elsewhere),
        sinks=tuple(options.sink),
        force=options.force,
    )
    if options.json and outputs.fills_stdout:
        raise UsageError("--json and --save-areas - both write to stdout. Give --save-areas a file.")
    return outputs


def _web(options: argparse.Namespace) -> WebAddress | None:
    from edgeseg.cli.options import UsageError, page_address

    files = {"--token-file": options.token_file, "--tls-cert": options.tls_cert, "--tls-key": options.tls_key}
    if options.web:
        return page_address(options)
    for option, value in files.items():
        if value is not None:
            raise UsageError(f"{option} belongs to the web page. Give --web too.")
    return None


def _show(outcome: RunOutcome, options: argparse.Namespace) -> None:
    from edgeseg.cli import render
    from edgeseg.runtime.cameras.address import redacted

    rows = [
        (stage, f"{times.p50_ms:.2f}", f"{times.p90_ms:.2f}", f"{times.p99_ms:.2f}")
        for stage, times in outcome.loop.stages_ms.items()
    ]
    age = outcome.loop
    rows.append(("frame age", f"{age.age_p50_ms:.2f}", f"{age.age_p90_ms:.2f}", f"{age.age_p99_ms:.2f}"))
    threads = render.counted(outcome.loop.threads, "thread")
    title = f"{outcome.artifact} on {outcome.engine}, {threads}, {redacted(options.source)}"
    render.table(title, ("stage", "p50 ms", "p90 ms", "p99 ms"), rows, numbers=("p50 ms", "p90 ms", "p99 ms"))
    render.result(_summary(outcome))
    if limit := _limit(outcome.loop):
        render.result(limit)
    if outcome.uncertainty is not None and outcome.uncertainty.temperature is None:
        render.say(
            f"The {outcome.uncertainty.kind} is not calibrated: the artifact has no temperature. "
            "Fit one with edgeseg calibrate --temperature, and convert again."
        )
    if outcome.observation is not None:
        render.result(_observed(outcome.observation))
    for what, path in (("Video", options.save), ("Labels", options.save_labels), ("Areas", options.save_areas)):
        if path and outcome.loop.frames:
            render.result(f"{what}: {path}")


def _summary(outcome: RunOutcome) -> str:
    from edgeseg.cli import render

    loop = outcome.loop
    score = "" if loop.miou is None else f", mIoU against the source's own labels {render.percent_text(loop.miou)} %"
    corrupt = f", {loop.corrupt} corrupt" if loop.corrupt else ""
    concealed = f", {loop.concealed} repaired by the decoder" if loop.concealed else ""
    missing = f", ended {render.counted(loop.missing, 'frame')} early" if loop.missing else ""
    reconnects = f", {render.counted(loop.reconnects, 'reconnection')}" if loop.reconnects else ""
    frames = render.counted(loop.frames, "frame")
    lost = f"{loop.skipped} skipped{corrupt}{concealed}{missing}{reconnects}"
    return f"{frames} at {loop.fps:.1f} FPS, {lost}{score}"


def _limit(loop: LoopResult) -> str:
    """Return a line if the source delivers clearly less than the engine could process, else an empty text."""
    infer = loop.stages_ms.get("infer")
    engine_fps = 1000 / infer.p50_ms if infer is not None and infer.p50_ms else 0.0
    if loop.limit != "capture" or engine_fps < WORTH_SAYING * loop.fps:
        return ""
    return f"The source delivers {loop.fps:.0f} frames per second; the engine alone would reach about {engine_fps:.0f}."


def _whole(outcome: RunOutcome) -> dict[str, object]:
    return {
        "fault": None if outcome.fault is None else str(outcome.fault),
        "artifact": outcome.artifact,
        "engine": outcome.engine,
        "monitor": outcome.observation,
        "uncertainty": outcome.uncertainty,
        "size_steps": outcome.size_steps,
    }


def _observed(seen: Observation) -> str:
    from edgeseg.cli import render

    if seen.agreement is None:
        return f"Monitor: no frame compared. {seen.fault or 'Lower --monitor-every.'}"
    agreement = render.percent_text(seen.agreement)
    words = f"Monitor: {agreement} % of labels agree with the float artifact's in {seen.frames} frames"
    if seen.drift is not None:
        words += (
            f"; input against {seen.reference}: mean off by {seen.drift.mean_shift:.2f} standard deviations, "
            f"spread {seen.drift.std_ratio:.2f} times, histograms {seen.drift.histogram_distance:.3f} apart"
        )
    return f"{words}. {seen.fault}" if seen.fault else f"{words}."
