"""One reader of image files: every kind of image gives each verb the same pixels, or the same refusal."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from contracts import tiny_artifact

from edgeseg.data import Decoding, FolderDataset, ImageFolder, identity, open_dataset
from edgeseg.data.image_globs import find_images
from edgeseg.data.label_maps import read_values
from edgeseg.data.reading import read_image, upright
from edgeseg.errors import EdgesegError
from edgeseg.pixels.image_header import read_header

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Image = pytest.importorskip("PIL.Image", reason="Pillow, which draws the images, comes with matplotlib")
ImageOps = pytest.importorskip("PIL.ImageOps")
SIZE = (20, 36)


def picture(size: tuple[int, int] = SIZE) -> np.ndarray:
    """Return soft colours that differ in every corner, (H, W, 3) uint8 RGB."""
    coarse = np.random.default_rng(1).integers(0, 256, (3, 4, 3), np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def saved(kind: str, *, mode: str = "RGB", orientation: int = 1, **options: object) -> bytes:
    """Return an image file's bytes, as Pillow writes it."""
    stream = io.BytesIO()
    if orientation != 1 and kind == "TIFF":
        options["tiffinfo"] = {0x112: orientation}
    elif orientation != 1:
        exif = Image.Exif()
        exif[0x112] = orientation
        options["exif"] = exif
    Image.fromarray(picture()).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def big() -> bytes:
    """Return a JPEG of 6000 x 8000 pixels."""
    return cv2.imencode(".jpg", np.full((6000, 8000, 3), 90, np.uint8))[1].tobytes()


def png_header(height: int, width: int) -> bytes:
    """Return a small grey PNG that claims a size."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    pixels = zlib.compress(b"\x00" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


READABLE: dict[str, Callable[[], bytes]] = {
    **{
        f"orientation {number} {kind}": (lambda k=kind, n=number: saved(k, orientation=n))
        for kind in ("JPEG", "PNG", "TIFF", "WEBP")
        for number in range(1, 9)
    },
    "CMYK JPEG": lambda: saved("JPEG", mode="CMYK"),
    "grey JPEG": lambda: saved("JPEG", mode="L"),
    "progressive JPEG": lambda: saved("JPEG", progressive=True),
    "motion photo": lambda: saved("JPEG") + np.random.default_rng(2).bytes(60_000),
    "motion photo, progressive": lambda: saved("JPEG", progressive=True) + b"\xff\xd8\xff\xe0" + bytes(9000),
    "RGBA PNG": lambda: saved("PNG", mode="RGBA"),
    "grey PNG": lambda: saved("PNG", mode="L"),
    "grey and alpha PNG": lambda: saved("PNG", mode="LA"),
    "palette PNG": lambda: saved("PNG", mode="P"),
    "1-bit PNG": lambda: saved("PNG", mode="1"),
    "PNG with bytes behind": lambda: saved("PNG") + bytes(5000),
    "CMYK TIFF": lambda: saved("TIFF", mode="CMYK"),
    "palette TIFF": lambda: saved("TIFF", mode="P"),
    "LZW TIFF": lambda: saved("TIFF", compression="tiff_lzw"),
    "lossy WebP": lambda: saved("WEBP", quality=80),
    "RGBA WebP": lambda: saved("WEBP", mode="RGBA", lossless=True),
    "BMP": lambda: saved("BMP"),
    "palette BMP": lambda: saved("BMP", mode="P"),
    "1x1": cv2.imencode(".png", np.full((1, 1, 3), 7, np.uint8))[1].tobytes,
    "8000x6000": big,
}
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "no end marker": (lambda: saved("JPEG")[:-2], "truncated JPEG"),
    "half a JPEG": (lambda: saved("JPEG")[:500], "truncated JPEG"),
    "half a PNG": (lambda: saved("PNG")[:300], "truncated PNG"),
    "a flipped bit in a PNG": (
        lambda: (d := bytearray(saved("PNG")), d.__setitem__(80, d[80] ^ 1))[0],
        "checksum of its IDAT",
    ),
    "half a WebP": (lambda: saved("WEBP")[:200], "truncated WebP"),
    "half a BMP": (lambda: saved("BMP")[:500], "truncated BMP"),
    "a header alone": (lambda: saved("JPEG")[:12], "truncated"),
    "16-bit PNG": (
        cv2.imencode(".png", np.full((8, 8), 2047, np.uint16))[1].tobytes,
        r"uint16 image with values from 2047 to 2047.*range = \[0, 2047\]",
    ),
    "float TIFF": (
        cv2.imencode(".tif", np.full((8, 8), 0.5, np.float32))[1].tobytes,
        r"float32 image with values from 0.5 to 0.5.*range = \[0, 1\]",
    ),
    "a bomb": (lambda: png_header(32000, 32000), "32000x32000, 1,024,000,000 pixels in .* the limit is 200,000,000"),
    "HEIC": (lambda: b"\x00\x00\x00\x18ftypheic" + bytes(50), "its content is HEIC"),
    "a Git LFS pointer": (lambda: b"version https://git-lfs.github.com/spec/v1\n", "run git lfs pull"),
    "text": (lambda: b"hello, not an image", "not a readable image"),
    "nothing": (lambda: b"", "empty file"),
}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> object:
    """Return a session whose `segment` only reads: the labels are the pixels that it was given."""
    from edgeseg.runtime import load

    return load(tiny_artifact.make_artifact(tmp_path_factory.mktemp("artifact") / "tiny", file_format="onnx").folder)


def by_every_reader(path: Path, session: object) -> dict[str, np.ndarray | str]:
    """Return what each reader makes of an image file that lies in the train split of a data set: pixels or refusal."""
    root = path.parents[2]

    def train() -> np.ndarray:
        return FolderDataset.open(root, split="train").load(0).image

    def run() -> np.ndarray:
        from edgeseg.runtime.cameras.file import CAMERA
        from edgeseg.runtime.cameras.source import Request

        with CAMERA.camera(Request(uri=str(path.parent), rest=str(path.parent))) as camera:
            return next(iter(camera.frames())).image

    def segment() -> np.ndarray:
        taken: list[np.ndarray] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(session), "preprocess", lambda _, image: taken.append(image))
            patch.setattr(type(session), "infer", lambda _, tensor: tensor)
            patch.setattr(type(session), "decode", lambda _, tensor, *, size: np.zeros(size, np.uint8))
            session.segment(path)
        return taken[0]

    readers = {
        "train": train,
        "calibrate": lambda: ImageFolder.open(root).load_image(0),
        "predict": lambda: find_images([str(path)])[0].read()[0],
        "run": run,
        "segment": segment,
    }
    found: dict[str, np.ndarray | str] = {}
    for name, read in readers.items():
        try:
            found[name] = read()
        except EdgesegError as error:
            found[name] = str(error)
    return found


def in_a_data_set(folder: Path, content: bytes, *, size: tuple[int, int], suffix: str = ".jpg") -> Path:
    for room in ("images", "labels"):
        (folder / room / "train").mkdir(parents=True)
    (folder / "classes.txt").write_text("a\nb\n", encoding="utf-8")
    cv2.imwrite(str(folder / "labels" / "train" / "x.png"), np.zeros(size, np.uint8))
    path = folder / "images" / "train" / f"x{suffix}"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", READABLE)
def test_every_reader_gives_the_pixels_that_a_viewer_shows(kind: str, tmp_path: Path, session: object) -> None:
    content = READABLE[kind]()
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB"))
    expected = cv2.cvtColor(expected, cv2.COLOR_RGB2BGR)
    path = in_a_data_set(tmp_path, content, size=expected.shape[:2])
    found = by_every_reader(path, session)
    for name, image in found.items():
        assert isinstance(image, np.ndarray), (name, image)
        assert image.shape == expected.shape, name
        assert image.dtype == np.uint8
        # Pillow and OpenCV round CMYK differently.
        assert cv2.norm(image, expected, cv2.NORM_INF) <= (3 if "CMYK" in kind else 1), name
        assert cv2.norm(image, found["train"], cv2.NORM_INF) == 0, name


@pytest.mark.parametrize("kind", REFUSED)
def test_every_reader_refuses_alike_and_names_the_file(kind: str, tmp_path: Path, session: object) -> None:
    make, says = REFUSED[kind]
    path = in_a_data_set(tmp_path, bytes(make()), size=(8, 8))
    found = by_every_reader(path, session)
    assert len(set(map(str, found.values()))) == 1, found
    with pytest.raises(EdgesegError, match=says) as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert str(found["train"]) == str(caught.value)


@pytest.mark.parametrize("number", range(1, 9))
def test_orientations_of_a_known_corner(number: int) -> None:
    # EXIF 2.32: where the stored first row's first pixel lies on the upright image.
    image = np.zeros((2, 3, 3), np.uint8)
    image[0, 0] = 9
    corner = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}[number]
    assert upright(image, number)[corner].tolist() == [9, 9, 9]
    assert upright(image, number).shape[:2] == ((2, 3) if number < 5 else (3, 2))


def test_a_stated_range_maps_16_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.linspace(0, 4095, 256).astype(np.uint16).reshape(16, 16)
    path = tmp_path / "x.png"
    cv2.imwrite(str(path), values)
    expected = np.arange(256).reshape(16, 16)
    assert np.abs(read_image(path, decoding=Decoding(range=(0, 4095)))[:, :, 0].astype(int) - expected).max() <= 1
    monkeypatch.setenv("EDGESEG_IMAGE_RANGE", "0:4095")
    assert np.abs(read_image(path)[:, :, 0].astype(int) - expected).max() <= 1
    spread = read_image(path, decoding=Decoding(range="percentile"))
    assert (spread.min(), spread.max()) == (0, 255)
    monkeypatch.setenv("EDGESEG_IMAGE_RANGE", "4095")
    with pytest.raises(EdgesegError, match="EDGESEG_IMAGE_RANGE is '4095'; give LOW:HIGH"):
        read_image(path)


def test_another_range_is_other_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, value in (("images", 4000), ("labels", 0)):
        (tmp_path / kind / "train").mkdir(parents=True)
        dtype = np.uint16 if kind == "images" else np.uint8
        cv2.imwrite(str(tmp_path / kind / "train" / "a.png"), np.full((8, 8), value, dtype))
    (tmp_path / "classes.txt").write_text("one\ntwo\n", encoding="utf-8")

    def found() -> str:
        return identity(open_dataset(str(tmp_path), split="train")).sha256

    hashes = set()
    for text in ("0:4095", "0:8191", "percentile"):
        monkeypatch.setenv("EDGESEG_IMAGE_RANGE", text)
        hashes.add(found())
    assert len(hashes) == 3


def test_the_limit_on_pixels_can_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(saved("PNG"))
    with pytest.raises(EdgesegError, match=r"720 pixels in .* the limit is 719\. .*EDGESEG_MAX_PIXELS=720"):
        read_image(path, decoding=Decoding(max_pixels=719))
    monkeypatch.setenv("EDGESEG_MAX_PIXELS", "719")
    with pytest.raises(EdgesegError, match="the limit is 719"):
        read_image(path)
    assert read_image(path, decoding=Decoding(max_pixels=720)).shape == (20, 36, 3)
    with pytest.raises(EdgesegError, match="the limit is 719"):
        read_values(path)
    assert read_values(path, decoding=Decoding(max_pixels=720)).shape == (20, 36, 3)
    monkeypatch.setenv("EDGESEG_MAX_PIXELS", "many")
    with pytest.raises(EdgesegError, match="EDGESEG_MAX_PIXELS is 'many'; give a whole number"):
        read_image(path)


def test_big_tiffs_and_damaged_exif_are_read_by_their_header() -> None:
    entries = [(256, 4, 36), (257, 4, 20), (274, 3, 6)]
    body = b"".join(struct.pack("<HHQQ", tag, kind, 1, value) for tag, kind, value in entries)
    content = b"II" + struct.pack("<HHHQQ", 43, 8, 0, 16, len(entries)) + body
    header = read_header(content)
    assert (header.height, header.width, header.orientation, header.upright) == (20, 36, 6, (36, 20))
    damaged = saved("JPEG", orientation=6).replace(
        b"Exif\x00\x00MM\x00*\x00\x00\x00\x08", b"Exif\x00\x00MM\x00*\xff\xff\xff\x08"
    )
    assert read_header(damaged).orientation == 1
