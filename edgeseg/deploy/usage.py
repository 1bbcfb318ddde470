"""USAGE.md: how an app runs an artifact without edgeseg, with a snippet for its engine that can be run as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeseg.core.artifact import Manifest
    from edgeseg.core.spec import Preprocess

USAGE_FILE = "USAGE.md"

_PAGE = """# {name}

Semantic segmentation into {count} classes, {format} {precision}, made by edgeseg from {checkpoint} ({licence}).{notice}

| | |
|---|---|
| model | `{entry}` |
| input | `{input}` {input_shape} {input_dtype}{input_scale}: {pixels} |
| output | `{output}` {output_shape} {output_dtype}{output_scale}: {meaning} |
| classes | {classes} |

1. {resize}
2. {order}
3. {normalise}
4. Run the model.
5. {decode}

{advice}## Python

```python
{code}
```

`golden/` has {samples} images with the labels and raw outputs to expect; `edgeseg verify` compares them, and so does
`artifact_check.cpp` of edgeseg's examples. manifest.json describes all of this for programs.
"""

_CODE = """import sys

import cv2
import numpy as np
{imports}

{palette}
image = cv2.imread(sys.argv[1])
{fit}
{order}
{normalise}
{run}
{decode}
cv2.imwrite("labels.png", labels)
cv2.imwrite("colours.png", PALETTE[labels])"""


def usage(manifest: Manifest, *, snippet: str) -> str:
    """Return the text of USAGE.md; `snippet` is the converter's code from `tensor` to `output`, imports first."""
    spec, image, output = manifest.spec, manifest.inputs[0], manifest.outputs[0]
    preprocess = manifest.preprocess
    high, wide = image.size
    letterbox = preprocess.resize == "letterbox"
    rgb = preprocess.color_order == "rgb"
    normalised = f"(pixel * {preprocess.scale:.8g} - mean) / std, mean {preprocess.mean}, std {preprocess.std}"
    return _PAGE.format(
        name=manifest.name,
        count=len(spec.classes),
        format=manifest.format,
        precision=manifest.scheme.name,
        checkpoint=manifest.lineage.checkpoint,
        licence=manifest.licence,
        notice=f" {manifest.notice}" if manifest.notice else "",
        entry=manifest.entry,
        input=image.name,
        input_shape=_sides(image.shape),
        input_dtype=image.dtype,
        input_scale=_scale(image.scale, image.zero_point),
        pixels=f"{'RGB' if rgb else 'BGR'} {'pixels, 0 to 255' if preprocess.in_graph else 'values, normalised'}",
        output=output.name,
        output_shape=_sides(output.shape),
        output_dtype=output.dtype,
        output_scale=_scale(output.scale, output.zero_point),
        meaning="class ids" if output.role == "labels" else "logits at a stride, one per class",
        classes=", ".join(f"{index} {name}" for index, name in enumerate(spec.classes)),
        resize=f"Resize the image to {high} rows and {wide} columns"
        + (", its sides in proportion, and pad it with grey 114 on both sides." if letterbox else ".")
        + (" Shrink by area." if preprocess.interpolation == "area" else " Bilinear, half-pixel centres."),
        order=f"Order the channels {'red, green, blue' if rgb else 'blue, green, red'}.",
        normalise="Pass the bytes: the model normalises them." if preprocess.in_graph else f"Normalise: {normalised}.",
        decode="Enlarge the class ids to the image's size without interpolation."
        if output.role == "labels"
        else "Enlarge the logits bilinearly (half-pixel centres) to the image's size, then take the best class of each "
        "pixel. The other order (best class first) is faster and gives coarser boundaries.",
        advice=_advice(manifest),
        code=_code(manifest, snippet),
        samples=len(manifest.golden.samples),
    )


def _code(manifest: Manifest, snippet: str) -> str:
    image, output, preprocess = manifest.inputs[0], manifest.outputs[0], manifest.preprocess
    lines = snippet.format(entry=manifest.entry, input=image.name, output=output.name).splitlines()
    imports = [line for line in lines if line.startswith(("import ", "from "))]
    colours = ", ".join(str(colour[::-1]) for colour in manifest.spec.palette)
    return _CODE.format(
        imports="\n".join(imports),
        palette=f"PALETTE = np.array([{colours}], np.uint8)  # BGR",
        fit=_fit(manifest),
        order="tensor = np.ascontiguousarray(tensor[..., ::-1])  # BGR to RGB"
        if preprocess.color_order == "rgb"
        else "# The model takes BGR, as OpenCV reads it.",
        normalise=_normalise(manifest),
        run="\n".join(line for line in lines if line not in imports),
        decode=_decode(manifest),
    )


def _fit(manifest: Manifest) -> str:
    preprocess = manifest.preprocess
    high, wide = manifest.inputs[0].size
    if preprocess.resize == "stretch":
        how = _interpolation(preprocess, rows=f"{high}")
        return f"tensor = cv2.resize(image, ({wide}, {high}), interpolation={how})"
    how = _interpolation(preprocess, rows="inner[0]")
    return f"""ratio = min({high} / image.shape[0], {wide} / image.shape[1])
inner = max(1, round(image.shape[0] * ratio)), max(1, round(image.shape[1] * ratio))
top, left = ({high} - inner[0]) // 2, ({wide} - inner[1]) // 2
tensor = np.full(({high}, {wide}, 3), 114, np.uint8)
tensor[top : top + inner[0], left : left + inner[1]] = cv2.resize(image, inner[::-1], interpolation={how})"""


def _interpolation(preprocess: Preprocess, *, rows: str) -> str:
    """Return the snippet's interpolation: by area only where the image shrinks, as in `edgeseg.pixels.prepare`."""
    if preprocess.interpolation != "area":
        return "cv2.INTER_LINEAR"
    return f"cv2.INTER_AREA if {rows} < image.shape[0] else cv2.INTER_LINEAR"


def _normalise(manifest: Manifest) -> str:
    image, preprocess = manifest.inputs[0], manifest.preprocess
    lines = []
    if not preprocess.in_graph:
        mean, std = f"np.array({preprocess.mean}, np.float32)", f"np.array({preprocess.std}, np.float32)"
        lines.append(f"tensor = (tensor.astype(np.float32) * np.float32({preprocess.scale!r}) - {mean}) / {std}")
    if image.scale is not None and image.dtype != "uint8":
        zero = image.zero_point or 0
        lines.append(f"tensor = np.rint(tensor / {image.scale!r}) + {zero}")
        lines.append("tensor = np.clip(tensor, -128, 127)")
    axes = ".transpose(2, 0, 1)" if image.layout == "NCHW" else ""
    lines.append(f"tensor = np.ascontiguousarray(tensor{axes}[None], np.{image.dtype})")
    return "\n".join(lines)


def _decode(manifest: Manifest) -> str:
    output, letterbox = manifest.outputs[0], manifest.preprocess.resize == "letterbox"
    high, wide = manifest.inputs[0].size
    if output.role == "labels":
        lines = ["labels = output[0].astype(np.uint8)"]
        how, name = "cv2.INTER_NEAREST", "labels"
    else:
        planes = "output[0].transpose(1, 2, 0)" if output.layout == "NCHW" else "output[0]"
        lines = [f"logits = {planes}.astype(np.float32)"]
        how, name = "cv2.INTER_LINEAR", "logits"
    if letterbox:
        lines.append(f"{name} = cv2.resize({name}, ({wide}, {high}), interpolation={how})")
        lines.append(f"{name} = {name}[top : top + inner[0], left : left + inner[1]]")
    lines.append(f"{name} = cv2.resize({name}, (image.shape[1], image.shape[0]), interpolation={how})")
    if name == "logits":
        lines.append("labels = logits.argmax(-1).astype(np.uint8)")
    return "\n".join(lines)


def _advice(manifest: Manifest) -> str:
    lines = []
    if manifest.golden.engine:
        lines.append(f"Proven with {manifest.golden.engine}, proof level {manifest.proof.level}.")
    if manifest.outputs[0].scale is not None:
        lines.append("The output is quantized: real = scale * (stored - zero point). The best class needs no scale.")
    return "\n".join([*lines, "", ""]) if lines else ""


def _sides(shape: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in shape)


def _scale(scale: float | None, zero_point: int | None) -> str:
    return "" if scale is None else f", scale {scale:.8g}, zero point {zero_point or 0}"
