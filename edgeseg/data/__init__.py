"""Data sets: folders of images and label maps, synthetic streets, and paired augmentation. Needs no torch."""

from __future__ import annotations

from edgeseg.data.augment import Augment, Crop
from edgeseg.data.dataset import Dataset, Sample
from edgeseg.data.decoding import Decoding
from edgeseg.data.folder import FolderDataset, ImageFolder
from edgeseg.data.identity import DataIdentity, identity
from edgeseg.data.opening import Reader, open_dataset, readers
from edgeseg.data.paths import split_of
from edgeseg.data.streets import StreetsDataset, StreetVideo, render_street

__all__ = [
    "Augment",
    "Crop",
    "DataIdentity",
    "Dataset",
    "Decoding",
    "FolderDataset",
    "ImageFolder",
    "Reader",
    "Sample",
    "StreetVideo",
    "StreetsDataset",
    "identity",
    "open_dataset",
    "readers",
    "render_street",
    "split_of",
]
