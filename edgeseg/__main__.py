"""`python -m edgeseg`: the command line, where the script is not on the path."""

from __future__ import annotations

import sys

from edgeseg.cli.main import main

sys.exit(main())
