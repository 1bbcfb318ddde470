"""Fetched weights are pinned by commit and hash; what cannot be had is one line."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeseg.cli.main import main
from edgeseg.errors import CheckpointError, InputError, MissingDependency
from edgeseg.models.foreign.fetch import fetch_weights, hub_file

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONTENT = b"weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ADDRESS = f"hf://owner/repo@{COMMIT}/folder/model.safetensors#sha256={SHA256}"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """Return the requests that a hub without a network gets."""
    asked: list[tuple[str, str, str]] = []

    def download(repo: str, file: str, *, revision: str, local_dir: str) -> str:
        asked.append((repo, file, revision))
        path = Path(local_dir) / file
        path.parent.mkdir(parents=True)
        path.write_bytes(CONTENT)
        return str(path)

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(hf_hub_download=download))
    return asked


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("https://example.org/model.pth", "is not an address of weights"),
        (f"hf://owner/repo@main/model.pth#sha256={SHA256}", '"main" can change'),
        (f"hf://owner/repo@{COMMIT}/model.pth", "has no SHA-256"),
        (f"hf://owner/repo@{COMMIT}/model.pth#sha256=abc", "has no SHA-256"),
    ],
)
def test_an_address_that_does_not_pin_its_content_is_refused(address: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        hub_file(address)


def test_the_file_is_fetched_once(hub: list[tuple[str, str, str]], tmp_path: Path) -> None:
    out = tmp_path / "new" / "model.safetensors"
    assert fetch_weights(ADDRESS, out) == out
    assert fetch_weights(ADDRESS, out).read_bytes() == CONTENT
    assert hub == [("owner/repo", "folder/model.safetensors", COMMIT)]
    assert [item.name for item in out.parent.iterdir()] == ["model.safetensors"]


def test_a_file_with_another_hash_is_not_kept(hub: list[tuple[str, str, str]], tmp_path: Path) -> None:
    assert not hub
    with pytest.raises(CheckpointError, match="not the expected file"):
        fetch_weights(ADDRESS.replace(SHA256, "0" * 64), tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_another_file_is_not_replaced(hub: list[tuple[str, str, str]], tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"mine")
    with pytest.raises(InputError, match="exists and is another file"):
        fetch_weights(ADDRESS, tmp_path / "model.safetensors")
    assert not hub


def test_without_a_network_it_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise ConnectionError("name resolution failed\nand more")

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(hf_hub_download=fail))
    assert main(["models", "fetch", ADDRESS, "-o", str(tmp_path / "m.pth")]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "could not be downloaded (name resolution failed). Check network" in said[0]


def test_a_missing_client_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingDependency, match=r"edgeseg\[hub\]"):
        fetch_weights(ADDRESS, tmp_path / "m.pth")
