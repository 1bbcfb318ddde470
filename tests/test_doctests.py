import doctest
import pkgutil
from importlib import import_module

import pytest

import edgeseg

PACKAGES = ("core", "pixels", "metrics", "graph")


def public_modules() -> list[str]:
    names = []
    for package in PACKAGES:
        paths = [f"{path}/{package}" for path in edgeseg.__path__]
        names += [f"edgeseg.{package}.{item.name}" for item in pkgutil.iter_modules(paths)]
    return [name for name in names if not name.rpartition(".")[2].startswith("_")]


def examples(module: object) -> list[doctest.DocTest]:
    return [test for test in doctest.DocTestFinder().find(module) if test.examples]


@pytest.mark.parametrize("name", public_modules())
def test_examples_in_docstrings_give_what_they_show(name: str) -> None:
    if name.startswith("edgeseg.graph."):
        pytest.importorskip("torch")
    module = import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    failed = [test.name for test in examples(module) if runner.run(test).failed]
    assert not failed


@pytest.mark.parametrize("package", ["core", "pixels", "metrics"])
def test_each_package_of_the_device_side_has_examples(package: str) -> None:
    names = [name for name in public_modules() if name.startswith(f"edgeseg.{package}.")]
    assert any(examples(import_module(name)) for name in names)
