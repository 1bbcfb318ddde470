"""An imported net: `OnnxNet`."""

from __future__ import annotations

from torch import Tensor, nn

from edgeseg.models.from_onnx.layers import build_layer
from edgeseg.models.from_onnx.plan import NetPlan, plan_from_text


class OnnxNet(nn.Module):
    """The net of an ONNX file: one module per computing op, named after its node.

    `plan` is the text of a `NetPlan`. It makes a checkpoint independent of the ONNX file: spec.json holds the plan, the
    weights are in weights.safetensors.
    """

    def __init__(self, plan: str) -> None:
        super().__init__()
        self.text = plan
        found: NetPlan = plan_from_text(plan)
        self.steps = found.steps
        self.result = found.output
        self.source = found.input
        for step in found.steps:
            self.add_module(step.name, build_layer(step))

    def forward(self, x: Tensor) -> Tensor:
        """Return the file's output for normalised images x (N, 3, H, W)."""
        values = {self.source: x}
        for step in self.steps:
            module = self.get_submodule(step.name)
            values[step.name] = module(*(values[name] for name in step.inputs))
        return values[self.result]
