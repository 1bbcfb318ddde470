"""Write a software bill of materials of a lock file: `python scripts/release/sbom.py LOCK FILE`.

CycloneDX 1.5 JSON (ECMA-424): edgeseg itself, and each locked package with its version, package URL and hashes. The
same lock gives the same bytes.
"""

from __future__ import annotations

import json
import re
import sys
import uuid
from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parents[2]
LINE = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)(?P<hashes>(?:\s+--hash=sha256:[0-9a-f]{64})+)$")


def components(lock: str) -> list[dict[str, object]]:
    """Return the components of a lock file's text; fails on a line without version or hash."""
    found: list[dict[str, object]] = []
    for line in lock.replace("\\\n", " ").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = LINE.fullmatch(line.strip())
        if match is None:
            raise SystemExit(f'sbom: "{line.strip()[:80]}" is not NAME==VERSION --hash=sha256:...')
        name, version = match["name"].lower().replace("_", "-"), match["version"]
        found.append(
            {
                "type": "library",
                "bom-ref": f"pkg:pypi/{name}@{version}",
                "name": name,
                "version": version,
                "purl": f"pkg:pypi/{name}@{version}",
                "hashes": [
                    {"alg": "SHA-256", "content": digest} for digest in re.findall(r"sha256:([0-9a-f]{64})", match[0])
                ],
            }
        )
    return found


def bill(lock: str) -> dict[str, object]:
    """Return the whole document."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    own = f"pkg:pypi/{project['name']}@{project['version']}"
    parts = components(lock)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, own + lock)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": project["name"],
                "version": project["version"],
                "purl": own,
                "licenses": [{"license": {"id": project["license"]}}],
            }
        },
        "components": parts,
        "dependencies": [{"ref": own, "dependsOn": [part["bom-ref"] for part in parts]}],
    }


def main(lock: str, file: str) -> None:
    """Read the lock, and write the bill."""
    text = json.dumps(bill(Path(lock).read_text(encoding="utf-8")), indent=2) + "\n"
    Path(file).write_text(text, encoding="utf-8")
    print(f"{file}: {text.count('bom-ref') - 1} components")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
