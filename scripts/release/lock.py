"""Write a lock file with a hash for every package: `python scripts/release/lock.py EXTRAS FILE [PLATFORM ...]`.

pip resolves `edgeseg[EXTRAS]` with the versions of constraints.txt, for the machine at hand or for each PLATFORM, such
as `manylinux_2_35_aarch64` (wheels for older glibc fit too), and reports the SHA-256 of what it would install; nothing
is installed. EXTRAS `build` are the tools that build a release. Install a lock with
`pip install --require-hashes --no-deps -r FILE`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parents[2]
BUILD = ("build", "setuptools", "wheel")
HEAD = """\
# Made by scripts/release/lock.py {extras} for Python {python} on {platforms}; do not edit.
# pip install --require-hashes --no-deps -r {name}
"""
Pins = dict[tuple[str, str], set[str]]


def requirements(extras: str) -> list[str]:
    """Return the requirements of the base and of comma-separated extras, those of nested extras included."""
    if extras == "build":
        return list(BUILD)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    known: dict[str, list[str]] = project["optional-dependencies"]
    found = list(project["dependencies"])
    wanted = extras.split(",")
    while wanted:
        name = wanted.pop()
        if name not in known:
            raise SystemExit(f'lock: no extra "{name}"; there are {", ".join(sorted(known))}')
        for item in known[name]:
            if item.startswith("edgeseg["):
                wanted += item[len("edgeseg[") : item.index("]")].split(",")
            else:
                found.append(item)
    return list(dict.fromkeys(found))


def resolve(needed: list[str], *, platform: str) -> dict[str, object]:
    """Return pip's report of what it would install for one platform, "" for this machine."""
    with tempfile.TemporaryDirectory() as place:
        report = Path(place) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--constraint", str(ROOT / "constraints.txt"), "--report", str(report), *needed]
        if platform:
            command += ["--only-binary", ":all:", "--target", place]
            command += [word for tag in tags(platform) for word in ("--platform", tag)]
        subprocess.run(command, check=True)
        found: dict[str, object] = json.loads(report.read_text(encoding="utf-8"))
        return found


def tags(platform: str) -> list[str]:
    """Return the platform tags of wheels that fit a platform: on manylinux, those for its glibc and for older ones."""
    manylinux = re.fullmatch(r"manylinux_2_(\d+)_(\w+)", platform)
    if manylinux is None:
        return [platform]
    newest, machine = int(manylinux[1]), manylinux[2]
    return [*(f"manylinux_2_{minor}_{machine}" for minor in range(newest, 16, -1)), f"manylinux2014_{machine}"]


def pins(report: dict[str, object]) -> Pins:
    """Return name and version of everything in a report with its hashes; fails where one has none."""
    found: Pins = {}
    for item in report["install"]:  # type: ignore[attr-defined]
        metadata = item["metadata"]
        digest = item["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")
        if not digest:
            raise SystemExit(f"lock: {metadata['name']} {metadata['version']} has no SHA-256, so it cannot be locked")
        found.setdefault((metadata["name"].lower().replace("_", "-"), metadata["version"]), set()).add(digest)
    return found


def merged(reports: list[Pins]) -> Pins:
    """Return the pins of all platforms; fails where two platforms need two versions of one package."""
    found: Pins = {}
    for report in reports:
        for key, digests in report.items():
            found.setdefault(key, set()).update(digests)
    names = [name for name, _ in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SystemExit(f"lock: {', '.join(twice)}: the platforms need different versions; lock them one by one")
    return found


def written(found: Pins) -> str:
    """Return the lines of a lock file, sorted by name."""
    return "".join(
        f"{name}=={version}" + "".join(f" \\\n    --hash=sha256:{digest}" for digest in sorted(digests)) + "\n"
        for (name, version), digests in sorted(found.items())
    )


def main(extras: str, file: str, *platforms: str) -> None:
    """Resolve, and write the file."""
    needed = requirements(extras)
    found = merged([pins(resolve(needed, platform=platform)) for platform in platforms or ("",)])
    head = HEAD.format(
        extras=extras,
        python=".".join(map(str, sys.version_info[:2])),
        platforms=", ".join(platforms) or sys.platform,
        name=Path(file).name,
    )
    Path(file).write_text(head + written(found), encoding="utf-8")
    print(f"{file}: {len(found)} packages")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
