"""Finds the packages; everything else about the project stands in pyproject.toml.

`converters`, `calibration` and `targets` lie at the top of the repository and are installed inside `edgeseg`, which
pyproject.toml can only express by naming every package by hand.
"""

from setuptools import find_packages, setup

INSIDE = ("converters", "calibration", "targets")

packages = find_packages(include=["edgeseg", "edgeseg.*"])
for folder in INSIDE:
    packages += [f"edgeseg.{folder}", *(f"edgeseg.{folder}.{name}" for name in find_packages(folder))]

setup(packages=packages, package_dir={"edgeseg": "edgeseg", **{f"edgeseg.{folder}": folder for folder in INSIDE}})
