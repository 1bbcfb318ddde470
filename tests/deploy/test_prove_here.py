"""What is written of a proof that this machine cannot give."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgeseg.deploy import prove
from edgeseg.errors import UnsupportedError


@pytest.mark.parametrize("level", ["reference", "engine"])
def test_an_op_that_our_evaluator_lacks_leaves_the_artifact_unproven(
    level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = SimpleNamespace(name="mil-reference", proof=level)
    golden = object()

    def refuse(*_: Any, **__: Any) -> None:
        raise UnsupportedError('The reference evaluator does not know "cumsum".')

    monkeypatch.setattr(prove, "engine_here", lambda *_, **__: (engine, ""))
    monkeypatch.setattr(prove, "open_for_proof", refuse)
    monkeypatch.setattr(prove, "promised_samples", lambda *_, **__: golden)
    artifact, nothing = SimpleNamespace(manifest=SimpleNamespace(engine="coreml")), SimpleNamespace()
    if level == "engine":
        with pytest.raises(UnsupportedError):
            prove.prove_here(artifact, nothing, reference=nothing, refused=Path("refused"))  # type: ignore[arg-type]
        return
    proven = prove.prove_here(artifact, nothing, reference=nothing, refused=Path("refused"))  # type: ignore[arg-type]
    assert (proven.proof.level, proven.golden) == ("none", golden)
    assert 'does not know "cumsum"' in proven.proof.reason
