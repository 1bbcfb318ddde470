"""The image with its classes in colour, a legend, and the loop's figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from edgeseg.runtime.sinks.hud import Hud

OPACITY = 0.55
BASE_HEIGHT = 360
FONT = cv2.FONT_HERSHEY_SIMPLEX
FONT_SCALE = 0.4
WHITE, GREY = (245, 245, 245), (150, 150, 150)
SHADE = 0.35
ALL_CLASSES_UP_TO = 21
"""Up to this many classes keep fixed places in the legend; of more, only those in the image are listed."""


class Overlay:
    """Draws class colours at 55 %, figures along the top and a legend along the bottom, sized to the image."""

    def __init__(self, classes: tuple[str, ...], *, palette: tuple[tuple[int, int, int], ...]) -> None:
        self._classes = classes
        self._colors = [(blue, green, red) for red, green, blue in palette]
        self._lut = np.zeros((256, 1, 3), np.uint8)
        self._lut[: len(palette), 0] = self._colors

    def draw(
        self, image: np.ndarray, labels: np.ndarray, *, hud: Hud | None = None, uncertainty: np.ndarray | None = None
    ) -> np.ndarray:
        """Return a new image (H, W, 3) BGR uint8; `image` is not changed.

        Pixels without a class (the ignore index) stay as they are. Where `uncertainty` (H, W) uint8 is high, pixels
        fade to white.
        """
        drawn = cv2.applyColorMap(labels, self._lut)
        cv2.addWeighted(image, 1 - OPACITY, drawn, OPACITY, 0, dst=drawn)
        counts = cv2.calcHist([labels], [0], None, [256], [0, 256]).reshape(-1)
        if counts[len(self._colors) :].any():
            unlabelled = cv2.compare(labels, np.array([len(self._colors) - 0.5]), cv2.CMP_GT)
            cv2.copyTo(image, unlabelled, drawn)
        if uncertainty is not None:
            cv2.add(drawn, cv2.cvtColor(uncertainty, cv2.COLOR_GRAY2BGR), dst=drawn)
        unit = max(1.0, min(image.shape[0] / BASE_HEIGHT, image.shape[1] / 480))
        self._draw_legend(drawn, counts[: len(self._classes)], unit)
        if hud is not None:
            _draw_hud(drawn, hud, unit)
        return drawn

    def _draw_legend(self, drawn: np.ndarray, counts: np.ndarray, unit: float) -> None:
        present = counts > 0
        if len(self._classes) <= ALL_CLASSES_UP_TO:
            shown = list(range(len(self._classes)))
        else:
            shown = [int(i) for i in np.argsort(-counts) if present[i]][:ALL_CLASSES_UP_TO]
        swatch = round(9 * unit)
        places, rows = _flow([self._classes[i] for i in shown], drawn.shape[1], unit, indent=swatch + round(4 * unit))
        top = drawn.shape[0] - _bar_height(rows, unit)
        _shade(drawn[top:])
        for i, (x, baseline) in zip(shown, places, strict=True):
            y = top + baseline
            box = (x, y - swatch), (x + swatch, y)
            text_x = x + swatch + round(4 * unit)
            if present[i]:
                cv2.rectangle(drawn, *box, self._colors[i], cv2.FILLED)
            cv2.rectangle(drawn, *box, WHITE if present[i] else GREY, max(1, round(unit / 2)), cv2.LINE_AA)
            _write(drawn, self._classes[i], (text_x, y), unit, WHITE if present[i] else GREY)


def _draw_hud(drawn: np.ndarray, hud: Hud, unit: float) -> None:
    texts = hud.items()
    places, rows = _flow(list(texts), drawn.shape[1], unit, indent=0)
    _shade(drawn[: _bar_height(rows, unit)])
    for text, place in zip(texts, places, strict=True):
        _write(drawn, text, place, unit, WHITE)


def _flow(texts: list[str], width: int, unit: float, *, indent: int) -> tuple[list[tuple[int, int]], int]:
    """Return (x, baseline) of each text, set in lines from left to right, and the number of lines."""
    margin, gap, line = round(8 * unit), round(12 * unit), _line_height(unit)
    x, row, places = margin, 1, []
    for text in texts:
        long = indent + _width(text, unit)
        if x > margin and x + long > width - margin:
            x, row = margin, row + 1
        places.append((x, row * line))
        x += long + gap
    return places, row


def _line_height(unit: float) -> int:
    return round(16 * unit)


def _bar_height(rows: int, unit: float) -> int:
    return rows * _line_height(unit) + round(6 * unit)


def _width(text: str, unit: float) -> int:
    return int(cv2.getTextSize(text, FONT, FONT_SCALE * unit, max(1, round(unit)))[0][0])


def _write(drawn: np.ndarray, text: str, place: tuple[int, int], unit: float, color: tuple[int, int, int]) -> None:
    cv2.putText(drawn, text, place, FONT, FONT_SCALE * unit, color, max(1, round(unit)), cv2.LINE_AA)


def _shade(bar: np.ndarray) -> None:
    cv2.convertScaleAbs(bar, dst=bar, alpha=SHADE)
