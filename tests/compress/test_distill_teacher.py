"""A teacher's outputs: what they are, that they are kept whole, and that they land where the student looks."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from compress.small_teacher import SIZE, small_teacher
from train.small import Noise

from edgeseg.compress.distill.crop_resampling import inside, sample_crops
from edgeseg.compress.distill.recipe import DistillRecipe
from edgeseg.compress.distill.teacher import Teacher, TeacherView, check_teachers, open_teacher, teacher_identity
from edgeseg.compress.distill.teacher_cache import TeacherCache, image_sha256
from edgeseg.compress.distill.teacher_outputs import LiveOutputs, StoredOutputs, store_outputs
from edgeseg.core.spec import Preprocess
from edgeseg.data import Augment, Sample
from edgeseg.errors import ArtifactError, CheckpointError, InputError
from edgeseg.models import load_checkpoint
from edgeseg.train.evaluate import normalise
from edgeseg.train.method import Seen
from edgeseg.train.samples import TrainingSet

if TYPE_CHECKING:
    from pathlib import Path

PLAIN = Augment(
    scale_min=1.0, scale_max=1.0, flip=0.0, brightness=0.0, contrast=0.0, saturation=0.0, hue_degrees=0.0, gamma=0.0,
    blur_chance=0.0, noise=0.0,
)  # fmt: skip
DATA = Noise(count=3, size=SIZE)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_teacher(tmp_path_factory.mktemp("teacher") / "net", classes=("dark", "light"))


def training(augment: Augment = PLAIN) -> TrainingSet:
    return TrainingSet(data=DATA, samples=None, augment=augment, preprocess=Preprocess(), size=SIZE, seed=2)


def stored(checkpoint: Path, root: Path, *, made: list[int] | None = None) -> StoredOutputs:
    """Return the outputs to the noise images; `made` gets an entry where a teacher had to be opened."""
    recipe = DistillRecipe(teachers=(str(checkpoint),))

    def opened() -> Teacher:
        if made is not None:
            made.append(1)
        return open_teacher(recipe)

    cache = TeacherCache(root=root, identity=teacher_identity(recipe))
    return store_outputs(training(), cache=cache, open_teacher=opened, device=torch.device("cpu"))


@pytest.mark.parametrize("seed", range(6))
def test_a_stored_map_lands_where_the_image_does(seed: int) -> None:
    high, width = 120, 200
    y, x = np.mgrid[:high, :width]
    image = np.stack([x + 20, 2 * y, np.zeros_like(x)], axis=2).astype(np.uint8)
    cells = torch.from_numpy(cv2.resize(image, (50, 30), interpolation=cv2.INTER_AREA)).permute(2, 0, 1)[None].float()
    augment = dataclasses.replace(PLAIN, scale_min=0.5, scale_max=2.0, aspect=0.2, flip=0.5, pad_bgr=(0, 0, 255))
    sample = Sample(id="x", image=image, labels=np.zeros((high, width), np.uint8))
    found = augment.apply(sample, rng=np.random.default_rng(seed), size=(96, 128)).image
    crop = augment.crop((high, width), rng=np.random.default_rng(seed), size=(96, 128))
    maps, mask = sample_crops(cells, crops=[crop], cells=(12, 16))[0], inside([crop], cells=(12, 16))[0]
    pooled = F.avg_pool2d(torch.from_numpy(found).permute(2, 0, 1)[None].float(), 8)[0]
    whole = pooled[2] == 0
    assert bool((mask | ~whole).all())
    assert bool((~mask | (pooled[2] < 255)).all())
    # The outermost half cell of a map has no neighbour to go on to: there it stays level.
    inner = F.max_pool2d((~whole)[None].float(), 3, 1, 1)[0] == 0
    assert inner.any()
    assert float((maps - pooled)[:2, inner].abs().max()) < 4.5


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_a_training_set_tells_where_its_samples_lie(resize: str) -> None:
    augment = dataclasses.replace(PLAIN, scale_min=0.4, scale_max=1.5, aspect=0.2, flip=0.5)
    tall = Noise(count=2, size=(70, 60))
    given = dataclasses.replace(
        training(augment),
        data=tall,
        preprocess=Preprocess(resize=resize),  # type: ignore[arg-type]
    )
    for key in ((0, 0), (0, 1), (1, 0), (7, 1)):
        padded = given[key][1] == 255
        assert torch.equal(inside([given.crop(key, source_size=(70, 60))], cells=SIZE)[0], ~padded)


def test_one_view_answers_with_the_nets_own_logits(checkpoint: Path) -> None:
    teacher = open_teacher(DistillRecipe(teachers=(str(checkpoint),)))
    image = DATA.load(0).image
    own = load_checkpoint(checkpoint)
    pixels = torch.from_numpy(cv2.cvtColor(image, cv2.COLOR_BGR2RGB).transpose(2, 0, 1).copy())[None]
    with torch.no_grad():
        expected = own.net(normalise(pixels, spec=own.spec))[0]
    torch.testing.assert_close(teacher.output(image), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mean", ["logits", "probabilities"])
def test_flipped_views_make_a_mirror_symmetric_teacher(checkpoint: Path, mean: str) -> None:
    recipe = DistillRecipe(teachers=(str(checkpoint),) * 2, mean=mean, flip=True, scales=(1.0, 1.5))  # type: ignore[arg-type]
    teacher = open_teacher(recipe)
    assert [view.spec.size for view in teacher.views] == [(64, 96), (96, 128)] * 2
    image = DATA.load(1).image
    mirrored = teacher.output(np.ascontiguousarray(image[:, ::-1])).flip(2)
    torch.testing.assert_close(mirrored, teacher.output(image), rtol=1e-4, atol=1e-4)
    if mean == "probabilities":
        torch.testing.assert_close(teacher.output(image).exp().sum(0), torch.ones(teacher.grid))


class Brightness(torch.nn.Module):
    """Two planes at stride 8: the first channel's mean, and nothing."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = F.avg_pool2d(x[:, :1], 8)
        return torch.cat([mean, torch.zeros_like(mean)], dim=1)


def test_letterboxing_is_undone(checkpoint: Path) -> None:
    spec = load_checkpoint(checkpoint).spec
    spec = dataclasses.replace(spec, preprocess=dataclasses.replace(spec.preprocess, resize="letterbox"))
    teacher = Teacher(views=(TeacherView(net=Brightness(), spec=spec),), flip=False, mean="logits", grid=(8, 12))
    image = np.zeros((40, 240, 3), np.uint8)
    image[:20] = 255  # a wide image: padded above and below, bright in its upper half
    output = teacher.output(image)[0]
    assert float(output[:3].min()) > float(output[5:].max()) + 1
    assert float(output.std(dim=1).max()) < 1e-4


def test_other_classes_are_refused(checkpoint: Path) -> None:
    recipe = DistillRecipe(teachers=(str(checkpoint),))
    check_teachers(recipe, classes=("dark", "light"))
    with pytest.raises(InputError, match=r"has the classes dark, light; the student has light, dark\. Choose"):
        check_teachers(recipe, classes=("light", "dark"))


def test_answers_are_made_once_and_what_is_missing_or_damaged_anew(checkpoint: Path, tmp_path: Path) -> None:
    made: list[int] = []
    outputs = stored(checkpoint, tmp_path, made=made)
    files = [outputs.cache.file(name) for name in outputs.images]
    before = [outputs.cache.read(name).clone() for name in outputs.images]
    stored(checkpoint, tmp_path, made=made)
    assert made == [1]
    files[0].unlink()  # as if the build had been cut off
    flipped = bytearray(files[1].read_bytes())
    flipped[-1] ^= 1
    files[1].write_bytes(flipped)
    files[2].write_bytes(files[2].read_bytes()[:100])
    for name in outputs.images:
        with pytest.raises(ArtifactError, match=r"\.safetensors: (missing or truncated|its checksum does not match)"):
            outputs.cache.read(name)
    stored(checkpoint, tmp_path, made=made)
    assert made == [1, 1]
    assert all(torch.equal(outputs.cache.read(name), x) for name, x in zip(outputs.images, before, strict=True))


def test_an_answer_to_another_image_or_of_another_teacher_is_not_taken(checkpoint: Path, tmp_path: Path) -> None:
    cache = stored(checkpoint, tmp_path).cache
    first, second = (image_sha256(DATA.load(index).image) for index in (0, 1))
    cache.file(second).write_bytes(cache.file(first).read_bytes())
    with pytest.raises(ArtifactError, match="belongs to another teacher or image"):
        cache.read(second)
    other = TeacherCache(root=tmp_path, identity={**cache.identity, "flip": True})
    assert other.folder != cache.folder
    assert not other.holds(first)


def test_a_teacher_that_gives_no_numbers_is_not_stored(checkpoint: Path, tmp_path: Path) -> None:
    cache = stored(checkpoint, tmp_path).cache
    for bad in (float("nan"), 1e6):
        with pytest.raises(CheckpointError, match="is not finite in float16"):
            cache.write("0" * 64, torch.full((2, 1, 1), bad))
    assert not cache.file("0" * 64).exists()


def test_live_and_stored_answers_agree_where_nothing_is_augmented(checkpoint: Path, tmp_path: Path) -> None:
    recipe = DistillRecipe(teachers=(str(checkpoint),))
    spec = load_checkpoint(checkpoint).spec
    live = LiveOutputs(teacher=open_teacher(recipe), spec=spec, training=training())
    keys = ((0, 1), (0, 2))
    pairs = [training()[key] for key in keys]
    images, labels = (torch.stack(items) for items in zip(*pairs, strict=True))
    seen = Seen(images=normalise(images, spec=spec), outputs=(), labels=labels, keys=keys)
    kept = stored(checkpoint, tmp_path)
    mine, theirs = (item.output(seen, cells=(8, 12)).logits for item in (live, kept))
    torch.testing.assert_close(mine, theirs, rtol=2e-3, atol=2e-3)
    assert torch.equal(live.mask(seen, cells=(4, 4)), kept.mask(seen, cells=(4, 4)))


def test_a_live_teacher_sees_the_students_images_in_its_own_way(checkpoint: Path) -> None:
    teacher = open_teacher(DistillRecipe(teachers=(str(checkpoint),)))
    spec = load_checkpoint(checkpoint).spec
    bgr = Preprocess(color_order="bgr", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    pixels = torch.from_numpy(DATA.load(0).image.transpose(2, 0, 1).copy())[None]
    other = dataclasses.replace(spec, preprocess=bgr)
    mine = teacher.live_output(normalise(pixels.flip(1), spec=spec), spec=spec, cells=(8, 12))
    theirs = teacher.live_output(normalise(pixels, spec=other), spec=other, cells=(8, 12))
    torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-3)
