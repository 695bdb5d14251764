"""What the tests of `sweep check` have in place of a rehearsal's model and cosines."""

from __future__ import annotations

from sweep.messages import Cosines, ModelDescription

NONE = Cosines(mean=0.0, p5=0.0, p95=0.0)

MODEL = ModelDescription(
    modules=("Transformer",),
    parameters=1,
    precision="float32",
    similarity="cosine",
    dimensions=(1, 1),
    tokens=None,
    positions=None,
    prompts={},
    unused_prompts=(),
    changes=(),
)
