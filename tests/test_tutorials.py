"""The tutorials' commands and files, taken from the pages and run in order on small data."""

from __future__ import annotations

import os
import re
import shlex
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from contracts.shapes import SIZE, write_shapes

from edgeseg.cli.main import main, parser

if TYPE_CHECKING:
    import torch

PAGES = Path(__file__).resolve().parents[1] / "docs" / "tutorials"
TUTORIALS = sorted(path.name for path in PAGES.glob("*.md"))
OWN_DATA, OWN_NET, THREE, FOREIGN = (
    "own-data-to-raspberry-pi.md", "your-net-to-int8-tflite.md", "three-classes-from-a-bundled-net.md",
    "foreign-onnx.md",
)  # fmt: skip
SHORT = {"train": ["--epochs", "6"], "bench": ["--runs", "3", "--warmup", "1"]}
NUCLEI = "nuclei"


def blocks(page: str) -> list[tuple[str, str]]:
    """Return (language, text) of the fenced blocks of a page, in order."""
    return re.findall(r"```(\w+)\n(.*?)```", (PAGES / page).read_text(encoding="utf-8"), flags=re.DOTALL)


def commands(page: str) -> list[list[str]]:
    """Return the words after `edgeseg` of all commands of a page."""
    lines = [line for kind, text in blocks(page) if kind == "bash" for line in text.splitlines()]
    return [shlex.split(line)[shlex.split(line).index("edgeseg") + 1 :] for line in lines if "edgeseg" in line]


def write_files(page: str) -> None:
    """Write the blocks that begin with a file's name into the working folder."""
    for kind, text in blocks(page):
        name = re.match(r"# ([\w.-]+)\n", text)
        if kind in ("python", "toml") and name:
            Path(name[1]).write_text(text, encoding="utf-8")


def shortened(words: list[str]) -> list[str]:
    """Return a command for a test: few epochs and runs, rendered frames in place of a camera."""
    text = shlex.join([*words, *SHORT.get(words[0], [])])
    return shlex.split(text.replace("--source 0 --web", "--source synthetic --headless --frames 3"))


def run(words: list[str]) -> None:
    assert main(shortened(words)) == 0, words
    for recipe in Path().glob("*/compress.toml"):
        recipe.write_text(re.sub(r"\bepochs = \d+", "epochs = 2", recipe.read_text(encoding="utf-8")), encoding="utf-8")


def train_own_net() -> torch.nn.Module:
    """Write my.pth: the net of the page's my_nets.py, trained for seconds by plain PyTorch; return the net."""
    import my_nets  # type: ignore[import-not-found]
    import torch

    from edgeseg.data import open_dataset

    data = open_dataset("my-data", split="train")
    samples = [data.load(index) for index in range(len(data))]
    images = torch.stack([torch.from_numpy(item.image[:, :, ::-1].copy()).permute(2, 0, 1) for item in samples])
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    x, labels = (images / 255 - mean) / std, torch.stack([torch.from_numpy(item.labels).long() for item in samples])
    torch.manual_seed(0)
    net = my_nets.Net(3)
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3)
    for _ in range(25):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x)["out"], labels).backward()
        optimizer.step()
    torch.save({"model_state": {f"module.{key}": value for key, value in net.state_dict().items()}}, "my.pth")
    return net.eval()


def export_own_net() -> None:
    """Write model.onnx: that net as its owner exports it, without a word on classes and preprocessing."""
    import torch

    write_files(OWN_NET)
    net = train_own_net()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (torch.zeros(1, 3, *SIZE),), "model.onnx", dynamo=True, verbose=False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    write_shapes(tmp_path / "my-data")
    return tmp_path


def test_all_tutorials_are_there() -> None:
    assert {OWN_DATA, OWN_NET, THREE, FOREIGN} <= set(TUTORIALS)


@pytest.mark.parametrize("page", TUTORIALS)
def test_each_command_is_one_that_the_parser_takes(page: str) -> None:
    assert commands(page)
    for words in commands(page):
        options, unknown = parser().parse_known_args(words)
        assert unknown == [], words
        assert callable(options.run)


@pytest.mark.usefixtures("folder")
def test_a_net_gets_its_spec_and_the_check_confirms_it(capsys: pytest.CaptureFixture[str]) -> None:
    write_files(OWN_NET)
    train_own_net()
    for words in [words for words in commands(OWN_NET) if words[0] == "spec"]:
        run(words)
    shown = capsys.readouterr().out
    assert 'classes = ["background", "disc", "box"]' in Path("spec.toml").read_text(encoding="utf-8")
    assert "nothing needs to change" in shown or "is the best of them" in shown
    assert main(["compress", "int8.toml", "--weights", "my.pth", "--spec", "spec.toml", "--dry-run"]) == 0


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("page", [OWN_DATA, OWN_NET, FOREIGN])
def test_the_whole_tutorial_runs(page: str) -> None:
    if page == FOREIGN:
        export_own_net()
    write_files(page)
    if page == OWN_NET:
        train_own_net()
    for words in commands(page):
        run(words)


@pytest.mark.slow
def test_the_tutorial_on_nuclei_runs(folder: Path) -> None:
    data = Path(os.environ.get("EDGESEG_TEST_DATA", "")) / NUCLEI
    if not (data / "classes.txt").is_file():
        pytest.skip("EDGESEG_TEST_DATA has no nuclei")
    small = folder / NUCLEI
    for split, count in (("train", 12), ("val", 4)):
        for kind in ("images", "labels"):
            (small / kind / split).mkdir(parents=True)
        for image in sorted((data / "images" / split).iterdir())[:count]:
            for kind in ("images", "labels"):
                (small / kind / split / image.name).symlink_to(data / kind / split / image.name)
    (small / "classes.txt").write_bytes((data / "classes.txt").read_bytes())
    for words in commands(THREE):
        run(words)
