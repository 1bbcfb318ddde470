"""List files of `[splits]`: whole names first, bare ones where they are unmistakable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edgeseg.data.splits import _listed
from edgeseg.errors import DatasetError

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ["drive1/0001", "drive1/0002", "drive2/0001", "drive2/0002", "alone/0003"]


@pytest.mark.parametrize("text", ["drive1/0001.png\ndrive1/0002.png\n", "drive1/0001\n\n drive1/0002 \n"])
def test_a_name_with_its_folders_is_that_sample(text: str, tmp_path: Path) -> None:
    (tmp_path / "val.txt").write_text(text, encoding="utf-8")
    assert _listed(tmp_path / "val.txt", names=NAMES) == {"drive1/0001", "drive1/0002"}


def test_a_bare_name_is_taken_where_one_sample_has_it(tmp_path: Path) -> None:
    (tmp_path / "val.txt").write_text("0003.jpg\nelsewhere/0003\n", encoding="utf-8")
    assert _listed(tmp_path / "val.txt", names=NAMES) == {"alone/0003"}
    (tmp_path / "val.txt").write_text("0001.jpg\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r'"0001\.jpg" may be drive1/0001 or drive2/0001\. Write the sample'):
        _listed(tmp_path / "val.txt", names=NAMES)
    (tmp_path / "val.txt").write_text("0009\n", encoding="utf-8")
    with pytest.raises(DatasetError, match='lists "0009", which the data set does not have'):
        _listed(tmp_path / "val.txt", names=NAMES)
