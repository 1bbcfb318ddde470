"""What every data set reader promises, whatever its layout."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeseg.data import Dataset, Reader, identity, open_dataset, readers
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


class DatasetContract:
    """A subclass names its reader, and writes a small tree laid out as the real one: three samples or more in train."""

    reader: str
    classes: tuple[str, ...]

    def write(self, root: Path) -> str:
        """Write the tree and return what follows the reader's name."""
        raise NotImplementedError

    @pytest.fixture
    def text(self, tmp_path: Path) -> str:
        return f"{self.reader}:{self.write(tmp_path)}"

    def test_the_reader_is_registered(self) -> None:
        from edgeseg.core import registry

        assert self.reader in readers()
        reader = registry.load_plugin("datasets", self.reader)
        assert isinstance(reader, Reader)
        assert reader.summary

    def test_samples_are_pairs_of_one_size_in_known_classes(self, text: str) -> None:
        data = open_dataset(text, split="train")
        assert isinstance(data, Dataset)
        assert data.classes == self.classes
        assert len(data) >= 3
        seen = set()
        for index in range(len(data)):
            sample = data.load(index)
            assert sample.id == data.item_id(index)
            assert (sample.image.dtype, sample.image.shape[2]) == (np.uint8, 3)
            assert (sample.labels.dtype, sample.labels.shape) == (np.uint8, sample.image.shape[:2])
            seen |= set(np.unique(sample.labels).tolist())
        assert seen <= {*range(len(data.classes)), data.ignore_index}
        assert len(seen - {data.ignore_index}) >= 2
        assert len({data.item_id(index) for index in range(len(data))}) == len(data)

    def test_opening_twice_gives_the_same_content(self, text: str) -> None:
        assert identity(open_dataset(text, split="train")) == identity(open_dataset(text, split="train"))

    def test_a_split_that_is_not_there_is_refused(self, text: str) -> None:
        with pytest.raises(InputError):
            open_dataset(text, split="nowhere")
