"""Data sets: folders of images and label maps, synthetic streets, and paired augmentation. Needs no torch."""

from __future__ import annotations

from edgeseg.data.augment import Augment, Crop
from edgeseg.data.dataset import Dataset, Sample
from edgeseg.data.folder import FolderDataset, ImageFolder
from edgeseg.data.opening import open_dataset
from edgeseg.data.paths import split_of
from edgeseg.data.streets import StreetsDataset, StreetVideo, render_street

__all__ = [
    "Augment",
    "Crop",
    "Dataset",
    "FolderDataset",
    "ImageFolder",
    "Sample",
    "StreetVideo",
    "StreetsDataset",
    "open_dataset",
    "render_street",
    "split_of",
]
