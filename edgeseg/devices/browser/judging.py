"""From a posted run to a verification, a receipt and a measurement, judged here with the artifact's own samples."""

from __future__ import annotations

import dataclasses
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.bench.record import EngineRun, measurement_of
from edgeseg.bench.samples import TICK_MS, pack_samples, summarise
from edgeseg.core.measurement import DeviceState, Measurement
from edgeseg.core.timing_method import TimingMethod
from edgeseg.devices.browser.posted import outputs_in, parts_of, posted_run, ticks_in
from edgeseg.errors import ArtifactError, RecipeError
from edgeseg.runtime.session.verify import Verification, check_verification, compare_outputs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeseg.devices.browser.offer import Offer
    from edgeseg.devices.browser.posted import PostedRun, PostedTiming, Ticks


_ADVICE = "This browser must not be trusted with it: try WebAssembly instead of WebGPU, or the artifact in fp32."


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedRun:
    """A posted run that passed: its artifact, who ran it, its verification, and its measurement if runs were timed."""

    offer: Offer
    device: str
    verification: Verification
    measurement: Measurement | None


def judge_run(message: bytes, offers: Sequence[Offer], *, versions: dict[str, str]) -> JudgedRun:
    """Return what a posted message proves; `versions` are those of the engines that the page was given.

    Raises:
        RecipeError: a message that does not follow the schema, or contradicts itself.
        ArtifactError: another artifact or model file than those offered.
        GateError: other input tensors than at conversion, or too few of the golden labels.
    """
    parts = parts_of(message)
    if not parts:
        raise RecipeError("The message is empty.")
    run = posted_run(parts[0])
    offer = _offer(run, offers)
    samples = len(offer.artifact.manifest.golden.samples)
    outputs = outputs_in(parts[1 : 1 + samples], offer.artifact)
    found = compare_outputs(
        offer.artifact,
        outputs=outputs,
        inputs_sha256=_hashes(run, samples),
        engine=run.engine,
        engine_version=versions[run.engine],
        delegate=_delegate(run),
        threads=run.threads,
    )
    check_verification(found, Path(found.artifact), advice=_ADVICE)
    rest = parts[1 + samples :]
    if run.timing is None:
        if rest:
            raise RecipeError("timing is missing; the message holds times.")
        return JudgedRun(offer=offer, device=run.device.name, verification=found, measurement=None)
    measured = _measured(run, run.timing, ticks_in(rest, run.timing), offer=offer, found=found)
    return JudgedRun(offer=offer, device=run.device.name, verification=found, measurement=measured)


def _offer(run: PostedRun, offers: Sequence[Offer]) -> Offer:
    offer = next((item for item in offers if item.artifact.sha256 == run.artifact_sha256), None)
    if offer is None:
        raise ArtifactError(f"Artifact {run.artifact_sha256[:12]} is not offered here. Reload the page.")
    name = offer.artifact.manifest.name
    if run.engine != offer.engine.name:
        raise RecipeError(f'posted.engine is "{run.engine}"; in a browser {name} runs on {offer.engine.name}.')
    if run.model_sha256 != offer.model_sha256:
        raise ArtifactError(
            f"{name}: the browser loaded other bytes than the artifact's model ({run.model_sha256[:12]}, not "
            f"{offer.model_sha256[:12]}). Reload the page."
        )
    return offer


def _hashes(run: PostedRun, samples: int) -> tuple[str, ...]:
    if len(run.inputs_sha256) != samples:
        raise RecipeError(f"posted.inputs_sha256: {len(run.inputs_sha256)} hashes for {samples} golden samples.")
    return run.inputs_sha256


def _delegate(run: PostedRun) -> str:
    return "cpu" if run.accelerator == "wasm" else "webgpu"


def _measured(run: PostedRun, timing: PostedTiming, ticks: Ticks, *, offer: Offer, found: Verification) -> Measurement:
    options = {
        "accelerator": run.accelerator,
        "browser": run.device.browser,
        "images": timing.images,
        "clock_ms": f"{timing.clock_ms:g}",
        **({"frame_age_from": timing.age_from} if timing.age_from else {}),
        **({"adapter": run.adapter} if run.adapter else {}),
    }
    age = None if ticks.ages is None else summarise("frame_age", ticks.ages.astype(np.float64) * TICK_MS)
    return measurement_of(
        offer.artifact,
        EngineRun(
            engine=run.engine,
            version=found.engine_version,
            options=options,
            delegate=_delegate(run),
            threads=run.threads,
        ),
        device=_state(run),
        samples=pack_samples(ticks.stages.astype(np.int64) * 100),
        warmup=timing.warmup,
        method=TimingMethod(
            protocol="standard",
            session=secrets.token_hex(8),
            least_runs=timing.runs,
            least_seconds=0.0,
            rounds=1,
            settled=timing.settled,
        ),
        image_size=timing.image_size,
        label_agreement=found.agreement,
        frame_age=age,
    )


def _state(run: PostedRun) -> DeviceState:
    """Return the device's state: a browser says little, and what it does not say stays empty."""
    device = run.device
    state = DeviceState(
        name=device.name.strip(),
        cpu="",
        arch=device.architecture,
        cores=device.cores,
        memory_mb=None,
        os=", ".join(part for part in (device.system, device.browser) if part),
        python="",
    )
    # A CPU that imitates a GPU computes right and says nothing about any GPU's speed.
    return dataclasses.replace(state, emulated=run.software_adapter)
