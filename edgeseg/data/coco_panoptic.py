"""COCO panoptic: one PNG an image whose colours are segment ids, and a JSON file that gives each segment its category.

Kirillov et al., Panoptic Segmentation (CVPR 2019): the id of a segment is R + 256 G + 65536 B; 0 is unlabelled.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseg.core.files import sha256_of
from edgeseg.data.annotation_files import field_of, find_image, folder_of, read_annotations, sample_name
from edgeseg.data.coco import annotation_file, check_image_ids, image_places, read_categories
from edgeseg.data.dataset import Sample
from edgeseg.data.label_maps import misfit, read_values
from edgeseg.data.label_names import NameMapping, map_names
from edgeseg.data.licence import read_licence
from edgeseg.data.mapped_dataset import MappedDataset
from edgeseg.data.reading import read_with_header
from edgeseg.errors import DatasetError

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.data.description import Description


@dataclass(frozen=True, slots=True, kw_only=True)
class Segmented:
    """One image, its PNG of segments, and the label of each segment's id."""

    id: str
    image: Path
    segments: Path
    labels: dict[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PanopticDataset(MappedDataset[NameMapping]):
    """Images with panoptic segments, read as classes."""

    samples: tuple[Segmented, ...]
    annotations: Path

    @property
    def content_rules(self) -> str:
        """What decides the result of `load` besides a sample's own files."""
        return f"{sorted(self.mapping.names.items())} {self.decoding.resolved().range} {sha256_of(self.annotations)}"

    def __len__(self) -> int:
        return len(self.samples)

    def item_id(self, index: int) -> str:
        """Return a sample's name."""
        return self.samples[index].id

    def item_files(self, index: int) -> tuple[Path, ...]:
        """Return the files of a sample."""
        return self.samples[index].image, self.samples[index].segments

    def load(self, index: int) -> Sample:
        """Return one image with its labels; raises a `DatasetError` that names the faulty file."""
        sample = self.samples[index]
        image, header = read_with_header(sample.image, decoding=self.decoding)
        values = read_values(sample.segments, decoding=self.decoding)
        if values.shape[:2] != header.upright:
            raise DatasetError(misfit(sample.segments, values.shape, image=header, name=sample.image.name))
        if values.ndim != 3 or values.dtype != np.uint8:
            raise DatasetError(f"{sample.segments}: is not a colour PNG of 8 bits, which a panoptic map is.")
        blue, green, red = (values[:, :, channel].astype(np.int64) for channel in range(3))
        return Sample(
            id=self.item_id(index), image=image, labels=self._labels(red + 256 * green + 65536 * blue, sample)
        )

    def _labels(self, segments: np.ndarray, sample: Segmented) -> np.ndarray:
        ids, inverse, counts = np.unique(segments, return_inverse=True, return_counts=True)
        known = {0: self.mapping.outside}
        for number, value in zip(
            sample.labels, self.mapping.indices(list(sample.labels.values()), where=str(sample.segments)), strict=True
        ):
            known[number] = value
        strange = Counter({int(n): int(c) for n, c in zip(ids, counts, strict=True) if int(n) not in known})
        if strange:
            shown = ", ".join(f"{number} ({count:,} pixels)" for number, count in strange.most_common(6))
            raise DatasetError(
                f"{sample.segments}: segment {shown}, which {self.annotations.name} does not list for this image."
            )
        table = np.array([known[int(number)] for number in ids], np.uint8)
        return table[inverse].reshape(segments.shape)


class CocoPanopticReader:
    """Opens a folder of COCO panoptic annotations and images."""

    summary = "COCO panoptic: annotations/panoptic_SPLIT*.json, the folder of PNGs of the same name, images"

    def open(self, place: str, /, *, split: str, description: Description) -> PanopticDataset:
        """Return the images of a split with their segments; raises `DatasetError` if a file or a field is missing."""
        root = folder_of(place or description.root)
        path = annotation_file(root, split, kinds=("panoptic",))
        table = read_annotations(path)
        categories = read_categories(table, path=path)
        images = field_of(table, "images", list, where=str(path))
        check_image_ids(images, path=path)
        files = {
            field_of(item, "id", int, where=str(path)): field_of(item, "file_name", str, where=str(path))
            for item in images
        }
        samples = tuple(
            _sample(item, files=files, path=path, root=root, split=split, categories=categories)
            for item in field_of(table, "annotations", list, where=str(path))
        )
        if not samples:
            raise DatasetError(f"{path}: lists no image.")
        return PanopticDataset(
            root=root,
            split=split,
            licence=read_licence(root),
            mapping=map_names(description, categories.values(), covers=True, name=root.name),
            samples=samples,
            annotations=path,
            decoding=description.data.decoding(),
        )


def _sample(
    item: Any, *, files: dict[int, str], path: Path, root: Path, split: str, categories: dict[int, str]
) -> Segmented:
    number = field_of(item, "image_id", int, where=str(path))
    if number not in files:
        raise DatasetError(f"{path}: an annotation belongs to image {number}, which the file does not list.")
    name = field_of(item, "file_name", str, where=str(path))
    places = tuple(place for place in (path.with_suffix(""), root / path.stem) if place.is_dir()) or (path.parent,)
    labels = {}
    for segment in field_of(item, "segments_info", list, where=str(path)):
        category = field_of(segment, "category_id", int, where=str(path))
        labels[field_of(segment, "id", int, where=str(path))] = categories.get(category, f"category {category}")
    return Segmented(
        id=sample_name(files[number]),
        image=find_image(files[number], places=image_places(root, split, annotations=path), where=str(path)),
        segments=find_image(name, places=places, where=str(path)),
        labels=labels,
    )


READER = CocoPanopticReader()
