"""What `sweep check` says of a limit on silence that is near to what a batch takes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sweep.cli.check import _describe_silence


@pytest.mark.parametrize(
    ("stall_s", "silence_s", "advice"),
    [
        (4.0, 1.4, "set it to 9 or more"),
        (1800.0, 700.0, "set it to 4200 or more"),
        (1800.0, 500.0, None),
        (4.0, 0.1, None),
    ],
)
def test_a_batch_that_comes_near_the_limit_is_one_line_with_the_key(
    stall_s: float, silence_s: float, advice: str | None
) -> None:
    plan: Any = SimpleNamespace(spec=SimpleNamespace(workers=SimpleNamespace(stall_s=stall_s)))
    rehearsal: Any = SimpleNamespace(silence_s=silence_s)
    said = list(_describe_silence(plan, rehearsal))
    assert len(said) == (advice is not None)
    for line in said:
        assert line.startswith(f"Warning:  workers.stall_s = {stall_s:g}: a batch takes {silence_s:.1f} s here")
        assert advice is not None
        assert line.endswith(advice)
