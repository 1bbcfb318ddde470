"""Ready-made textures: noise, ground, facades and foliage, made once per process from fixed seeds.

They do not depend on a scene's seed; scenes choose among them and tint them.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

GROUND_PX_PER_M = 24
_FACADE_PX_PER_M = 28
FACADE_WIDTH_M, FACADE_HEIGHT_M = 6.0, 9.0
FACADE_COUNT, CROWN_COUNT = 40, 18


def fractal(rng: np.random.Generator, *, high: int, width: int, octaves: int, first: int = 4) -> np.ndarray:
    """Return smooth noise that tiles left to right, (high, width) float32 with mean 0 and deviation 1."""
    total = np.zeros((high, width), np.float32)
    cells, weight = first, 1.0
    for _ in range(octaves):
        grid = rng.standard_normal((max(2, cells * high // width), cells)).astype(np.float32)
        grid = np.concatenate([grid[:, -2:], grid, grid[:, :2]], axis=1)
        wide = cv2.resize(grid, (width * (cells + 4) // cells, high), interpolation=cv2.INTER_CUBIC)
        start = 2 * width // cells
        total += weight * wide[:, start : start + width]
        cells, weight = cells * 2, weight * 0.62
    result: np.ndarray = (total - total.mean()) / max(float(total.std()), 1e-6)
    return result


@cache
def clouds() -> np.ndarray:
    """Return a band of clouds, (256, 1024) float32, roughly -2..2."""
    return fractal(np.random.default_rng(11), high=256, width=1024, octaves=6, first=6)


@cache
def grain() -> np.ndarray:
    """Return a sheet of sensor noise, (640, 1024, 3) int16 of deviation 16, partly shared between the colours."""
    rng = np.random.default_rng(12)
    shared = rng.standard_normal((640, 1024, 1))
    own = rng.standard_normal((640, 1024, 3))
    return np.clip(16.0 * (0.8 * shared + 0.6 * own), -96, 96).astype(np.int16)


@cache
def ground() -> np.ndarray:
    """Return ground detail, (512, 512, 3) uint8 around 128: asphalt, paving slabs and grass, one per channel."""
    rng = np.random.default_rng(13)
    fine = rng.standard_normal((512, 512)).astype(np.float32)
    rough = fractal(rng, high=512, width=512, octaves=6)
    asphalt = 7.0 * cv2.GaussianBlur(fine, (3, 3), 0) * 2.0 + 7.0 * rough
    cracks = np.abs(fractal(rng, high=512, width=512, octaves=5, first=3)) < 0.012
    asphalt -= 22.0 * cracks
    slabs = 6.0 * fractal(rng, high=512, width=512, octaves=5) + 4.0 * fine
    for row in range(0, 512, 16):
        tones = np.repeat(rng.normal(0, 7, 16), 32)[:512]
        slabs[row : row + 16] += np.roll(tones, (row // 16 % 2) * 16)
        slabs[row] -= 26.0
        slabs[row : row + 16, (row // 16 % 2) * 16 :: 32] -= 26.0
    grass = 22.0 * cv2.GaussianBlur(fine, (3, 5), 0) * 2.0 + 12.0 * rough
    result: np.ndarray = np.clip(128 + np.stack([asphalt, slabs, grass], axis=2), 0, 255).astype(np.uint8)
    return result


@cache
def facade(index: int) -> tuple[np.ndarray, ...]:
    """Return one facade as a pyramid, largest first; the tile repeats sideways once (12 m) and is 9 m high."""
    rng = np.random.default_rng([14, index])
    high, width = int(FACADE_HEIGHT_M * _FACADE_PX_PER_M), int(FACADE_WIDTH_M * _FACADE_PX_PER_M)
    style = index % 8
    tile = _wall(rng, style=style, high=high, width=width)
    if style == 6:
        _glass_grid(tile, rng)
    elif style == 7:
        _shed(tile, rng)
    else:
        _storeys(tile, rng, shop=style in (1, 3, 5))
    stain = fractal(rng, high=high, width=width, octaves=4)
    weather = 1.0 + 0.05 * stain[:, :, None] - 0.12 * np.linspace(0, 1, high, dtype=np.float32)[:, None, None] ** 4
    tile = np.clip(tile * weather, 0, 255).astype(np.uint8)
    return _pyramid(np.concatenate([tile, tile], axis=1))


def _pyramid(level: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return a texture at five sizes, each half the previous one, so that distant walls do not flicker."""
    levels = [level]
    for _ in range(4):
        half = (levels[-1].shape[1] // 2, levels[-1].shape[0] // 2)
        levels.append(np.asarray(cv2.resize(levels[-1], half, interpolation=cv2.INTER_AREA)))
    return tuple(levels)


def _wall(rng: np.random.Generator, *, style: int, high: int, width: int) -> np.ndarray:
    """Return a bare wall (high, width, 3) float32: brick, stone, render or panels."""
    bases = {
        0: (62, 84, 142),
        1: (96, 128, 158),
        2: (188, 200, 206),
        3: (70, 92, 128),
        4: (120, 158, 178),
        5: (170, 184, 196),
        6: (128, 128, 124),
        7: (120, 116, 112),
    }
    base = np.array(bases[style], np.float32) * rng.uniform(0.75, 1.15) + rng.normal(0, 6, 3)
    wall = np.ones((high, width, 3), np.float32) * base.astype(np.float32)
    wall += rng.normal(0, 5, (high, width, 1)).astype(np.float32)
    if style in (0, 1, 3, 4):
        course, brick = (4, 10) if style != 4 else (9, 22)
        for row in range(0, high, course):
            tones = rng.normal(0, 11, width // brick + 2)
            wall[row : row + course] += np.repeat(tones, brick)[None, :width, None].astype(np.float32)
            wall[row] += 22.0
    return wall


def _window(tile: np.ndarray, rng: np.random.Generator, *, box: tuple[int, int, int, int], frame: np.ndarray) -> None:
    """Paint a window with frame, sill, glazing bars and a reflection into left, top, right, bottom."""
    x0, y0, x1, y1 = box
    tile[y0 - 2 : y1 + 3, x0 - 2 : x1 + 2] = frame
    glass = rng.uniform(18, 70) * np.array((1.12, 1.0, 0.92))
    shine = np.linspace(rng.uniform(1.0, 2.6), 0.8, y1 - y0)[:, None, None]
    tile[y0:y1, x0:x1] = np.minimum(glass * shine, 235)
    if rng.random() < 0.4:
        drawn = y0 + int((y1 - y0) * rng.uniform(0.2, 0.6))
        tile[y0:drawn, x0:x1] = rng.uniform(120, 200)
    tile[(y0 + y1) // 2, x0:x1] = frame
    if x1 - x0 > 16:
        tile[y0:y1, (x0 + x1) // 2] = frame
    tile[y1 + 3 : y1 + 6, x0 - 4 : x1 + 4] = frame * 0.8
    tile[y1 + 6 : y1 + 8, x0 - 4 : x1 + 4] *= 0.6


def _storeys(tile: np.ndarray, rng: np.random.Generator, *, shop: bool) -> None:
    """Paint two upper rows of windows and a ground floor, a shop front or a door with a window."""
    high, width = tile.shape[:2]
    frame = np.full(3, rng.choice([235.0, 215.0, 60.0, 150.0]))
    columns = int(rng.integers(2, 4))
    pitch, wide, tall = width // columns, int(width // columns * rng.uniform(0.38, 0.6)), int(rng.uniform(38, 54))
    floor = high // 3
    if rng.random() < 0.5:
        for row in (floor - 4, 2 * floor - 6):
            tile[row : row + 4] *= 1.18
            tile[row + 4 : row + 6] *= 0.7
    for storey in range(2 if shop else 3):
        for column in range(columns):
            x0 = column * pitch + (pitch - wide) // 2
            y0 = storey * floor + (floor - tall) // 2
            if storey == 2 and column == columns - 1:
                tile[y0:, x0 + 4 : x0 + 30] = frame * 0.9
                tile[y0 + 3 :, x0 + 6 : x0 + 28] = rng.uniform(20, 150, 3)
                continue
            _window(tile, rng, box=(x0, y0, x0 + wide, y0 + tall), frame=frame)
    tile[:5] *= 1.2
    tile[5:8] *= 0.55
    if shop:
        _shop_front(tile, rng, top=2 * floor)


def _shop_front(tile: np.ndarray, rng: np.random.Generator, *, top: int) -> None:
    """Paint a sign board with strokes like lettering, dark panes, and a door."""
    high, width = tile.shape[:2]
    board = np.clip(rng.uniform(15, 170) + rng.normal(0, 38, 3), 8, 230)
    tile[top : top + 16] = board
    ink = np.full(3, 235.0) if board.mean() < 110 else np.full(3, 25.0)
    x = int(rng.integers(8, 40))
    while x < width - 24 and rng.random() < 0.93:
        tile[top + 4 : top + 12, x : x + int(rng.integers(2, 7))] = ink
        x += int(rng.integers(7, 12))
    tile[top + 16 : top + 19] *= 0.4
    tile[top + 19 : high - 8] = np.linspace(20, 60, high - 27 - top)[:, None, None] * np.array((1.05, 1.0, 0.95))
    for _ in range(14):
        gx, gy = int(rng.integers(4, width - 16)), int(rng.integers(top + 26, high - 22))
        tile[gy : gy + int(rng.integers(4, 16)), gx : gx + int(rng.integers(3, 14))] = np.clip(
            rng.uniform(30, 210) + rng.normal(0, 26, 3), 8, 235
        )
    for x in (0, width // 3, 2 * width // 3, width - 3):
        tile[top + 16 :, x : x + 3] = board * 0.8
    tile[high - 8 :] = board * 0.5


def _glass_grid(tile: np.ndarray, rng: np.random.Generator) -> None:
    """Paint an office front: rows of panes between concrete bands."""
    high, width = tile.shape[:2]
    rows, columns = int(rng.integers(4, 7)), int(rng.integers(3, 7))
    for row in range(rows):
        y0, y1 = row * high // rows + 5, (row + 1) * high // rows - int(rng.integers(5, 14))
        for column in range(columns):
            x0, x1 = column * width // columns + 2, (column + 1) * width // columns - 2
            sky = np.linspace(rng.uniform(70, 190), rng.uniform(30, 90), y1 - y0)[:, None, None]
            tile[y0:y1, x0:x1] = sky * np.array((1.1, 1.0, 0.9)) * rng.uniform(0.8, 1.1)


def _shed(tile: np.ndarray, rng: np.random.Generator) -> None:
    """Paint a low hall: ribbed cladding, a long window or a roller door."""
    high, width = tile.shape[:2]
    tile[:, ::7] *= 0.8
    tile[: high // 6] = rng.uniform(50, 190) + rng.normal(0, 14, 3)
    if rng.random() < 0.6:
        tile[high // 2 :, width // 5 : 4 * width // 5] = rng.uniform(60, 170)
        tile[high // 2 :: 6, width // 5 : 4 * width // 5] *= 0.75
    else:
        tile[high // 3 : high // 2, 8:-8] = (92, 82, 70)


@cache
def crown(index: int) -> np.ndarray:
    """Return a tree crown, (160, 160, 4) uint8 BGRA: leafy, conifer or bare, in turn."""
    rng = np.random.default_rng([15, index])
    kind = index % 3
    return _bare_crown(rng) if kind == 2 else _leafy_crown(rng, pointed=kind == 1 and index % 2 == 1)


def _leafy_crown(rng: np.random.Generator, *, pointed: bool) -> np.ndarray:
    """Return clumps of leaves, lit from above; the outline is ragged and a few holes show the background."""
    size = 160
    shape = np.zeros((size, size), np.uint8)
    for _ in range(80):
        down = rng.uniform(0.1, 0.9)
        reach = 0.42 * down if pointed else 0.36 * np.sqrt(max(0.0, 1 - (2 * down - 1) ** 2))
        x = 0.5 + rng.uniform(-1, 1) * reach
        radius = int(size * rng.uniform(0.035, 0.1))
        cv2.circle(shape, (int(x * size), int(down * size)), radius, 255, -1)
    noise = fractal(rng, high=size, width=size, octaves=5, first=12)
    edge = cv2.GaussianBlur(shape, (0, 0), 5).astype(np.float32) + 75.0 * noise
    alpha = np.where((edge > 110) & (shape > 0), 255, 0).astype(np.uint8)
    leaf = np.array((44, 72, 64), np.float32) * rng.uniform(0.75, 1.25) + rng.normal(0, 5, 3)
    lit = np.linspace(1.25, 0.6, size, dtype=np.float32)[:, None] + 0.34 * noise
    lit += 0.2 * rng.standard_normal((size, size)).astype(np.float32)
    colour = np.clip(leaf * np.clip(lit, 0.15, 2.2)[:, :, None], 0, 255)
    return np.dstack([colour, alpha]).astype(np.uint8)


def _bare_crown(rng: np.random.Generator) -> np.ndarray:
    """Return a winter crown: branches split upwards, twigs partly cover the background."""
    size = 160
    wood = np.zeros((size, size), np.uint8)
    _branch(wood, rng, start=(size / 2, size - 1.0), angle=-np.pi / 2, length=size * 0.27, depth=0)
    veil = cv2.GaussianBlur(wood, (0, 0), 3.2)
    haze = fractal(rng, high=size, width=size, octaves=5, first=16)
    twigs = np.where(veil.astype(np.float32) + 10.0 * haze > 26, 110 + 18 * haze, 0)
    alpha = np.clip(np.maximum(wood, twigs), 0, 255)
    tone = np.array((52, 58, 64), np.float32) + rng.normal(0, 6, 3)
    colour = np.ones((size, size, 1), np.float32) * tone.astype(np.float32)
    colour += 9.0 * haze[:, :, None]
    result: np.ndarray = np.clip(np.dstack([colour, alpha]), 0, 255).astype(np.uint8)
    return result


def _branch(
    wood: np.ndarray, rng: np.random.Generator, *, start: tuple[float, float], angle: float, length: float, depth: int
) -> None:
    """Draw one branch and the branches it splits into."""
    end = (start[0] + length * np.cos(angle), start[1] + length * np.sin(angle))
    points = [tuple(int(v) for v in p) for p in (start, end)]
    cv2.line(wood, points[0], points[1], 255, max(1, 5 - depth), cv2.LINE_AA)
    if depth == 5:
        return
    for turn in (-1, 1) if depth else (-1, 0, 1):
        spread = turn * rng.uniform(0.25, 0.6) + rng.normal(0, 0.08)
        _branch(wood, rng, start=end, angle=angle + spread, length=length * rng.uniform(0.62, 0.84), depth=depth + 1)


@cache
def strip_texture(kind: str, variant: int) -> tuple[np.ndarray, ...]:
    """Return 12 m of fence, railing, hedge or wall as a pyramid, (64, 512, 3) uint8 at the top."""
    rng = np.random.default_rng([16, variant, {"panels": 0, "railing": 1, "hedge": 2, "wall": 3}[kind]])
    high, width = 64, 512
    tile = np.zeros((high, width, 3), np.float32)
    noise = fractal(rng, high=high, width=width, octaves=6, first=16)
    if kind == "panels":
        tile[:] = np.array((66, 92, 116)) * rng.uniform(0.4, 1.0)
        tile += np.repeat(rng.normal(0, 8, width // 8), 8)[None, :, None]
        tile[:, ::8] *= 0.6
        tile[:, ::96] *= 0.5
        tile[6:9], tile[-12:-9] = tile[6:9] * 1.2, tile[-12:-9] * 1.2
    elif kind == "railing":
        tile[:] = 70 + 18 * noise[:, :, None]
        bar = rng.choice([18.0, 30.0, 150.0])
        for x in range(0, width, 6):
            tile[:, x : x + 2] = bar
        tile[3:7], tile[-9:-5] = bar, bar
        tile[:, ::84] = bar * 0.8
    elif kind == "hedge":
        leaf = np.array((34, 66, 56)) * rng.uniform(0.6, 1.3)
        lit = np.linspace(1.35, 0.55, high)[:, None] + 0.3 * noise + 0.25 * rng.standard_normal((high, width))
        tile[:] = leaf * np.clip(lit, 0.1, 2.2)[:, :, None]
    else:
        tile[:] = np.array((70, 92, 124)) * rng.uniform(0.6, 1.2)
        for row in range(0, high, 5):
            tile[row : row + 5] += np.repeat(rng.normal(0, 9, width // 12 + 1), 12)[None, :width, None]
            tile[row] += 20
        tile[:5] = 120
    return _pyramid(np.clip(tile * (1 + 0.04 * noise[:, :, None]), 0, 255).astype(np.uint8))
