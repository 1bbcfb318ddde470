"""`python -m edgeseg.bench.record_schema > docs/measurement.schema.json`: the JSON Schema of a measurement."""

from __future__ import annotations

import json
import sys

from edgeseg.bench.migration import MEASUREMENT_SCHEMA
from edgeseg.core.json_schema import json_schema
from edgeseg.core.measurement import Measurement


def schema_text() -> str:
    """Return the JSON Schema of the records that `edgeseg bench --out` writes, as the text of its file."""
    schema = json_schema(Measurement, title=f"edgeseg measurement, schema {MEASUREMENT_SCHEMA}")
    return json.dumps(schema, indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
