from __future__ import annotations

import pytest

from sweep.errors import SweepError, reason_of


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("one line"), "one line"),
        (RuntimeError("Error(s) in loading state_dict for BertModel:\n\tsize mismatch for a"), "size mismatch for a"),
        (
            TypeError("Class validation error for validator 'x':\n    ValueError: 2 layers, 6 types"),
            "2 layers, 6 types",
        ),
        (OSError("\n  first\nsecond"), "first"),
        (RuntimeError("only a heading:"), "only a heading:"),
        (KeyError(), "KeyError"),
        (SweepError("a: b: c"), "a: b: c"),
    ],
)
def test_the_line_with_the_reason_tells_an_error(error, reason):
    assert reason_of(error) == reason
