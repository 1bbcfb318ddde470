"""The release's lock files and bill of materials: every package with version and hash."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

pytest.importorskip("tomllib", reason="the release scripts need Python 3.11")
RELEASE = Path(__file__).parents[1] / "scripts" / "release"
ONE, TWO = "1" * 64, "2" * 64


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"release_{name}", RELEASE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


lock, sbom = script("lock"), script("sbom")


def report(*installed: tuple[str, str, str]) -> dict[str, object]:
    """Return what pip reports of packages: name, version, hash."""
    return {
        "install": [
            {
                "metadata": {"name": name, "version": version},
                "download_info": {"archive_info": {"hashes": {"sha256": digest} if digest else {}}},
            }
            for name, version, digest in installed
        ]
    }


def test_platforms_share_a_lock_and_each_file_has_its_hash() -> None:
    found = lock.merged([lock.pins(report(("Numpy_x", "2.1", ONE))), lock.pins(report(("numpy-x", "2.1", TWO)))])
    text = lock.written(found)
    assert text == f"numpy-x==2.1 \\\n    --hash=sha256:{ONE} \\\n    --hash=sha256:{TWO}\n"
    (part,) = sbom.components(text)
    assert part["purl"] == "pkg:pypi/numpy-x@2.1"
    assert [item["content"] for item in part["hashes"]] == [ONE, TWO]


def test_a_package_without_hash_or_with_two_versions_is_refused() -> None:
    with pytest.raises(SystemExit, match=r"a 1 has no SHA-256"):
        lock.pins(report(("a", "1", "")))
    with pytest.raises(SystemExit, match="a: the platforms need different versions"):
        lock.merged([lock.pins(report(("a", "1", ONE))), lock.pins(report(("a", "2", TWO)))])
    with pytest.raises(SystemExit, match='no extra "tflight"'):
        lock.requirements("tflight")


def test_extras_of_extras_are_locked_too() -> None:
    needed = lock.requirements("convert-openvino")
    assert any(item.startswith("onnxscript") for item in needed)
    assert any(item.startswith("torch>=") for item in needed)
    assert not any(item.startswith("edgeseg[") for item in needed)


@pytest.mark.parametrize("path", sorted((RELEASE.parents[1] / "locks").glob("*.txt")), ids=lambda path: path.name)
def test_the_bill_lists_every_locked_package(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    names = [line.split("==")[0] for line in text.splitlines() if "==" in line and not line.startswith("#")]
    bill = sbom.bill(text)
    assert [part["name"] for part in bill["components"]] == names
    assert bill == sbom.bill(text)
    assert json.dumps(bill).count('"alg": "SHA-256"') >= len(names)


def test_a_line_without_a_hash_is_no_lock() -> None:
    with pytest.raises(SystemExit, match=r'"numpy==2\.1" is not'):
        sbom.components("numpy==2.1\n")
