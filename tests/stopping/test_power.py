from __future__ import annotations

import pytest

from sweep.stopping.power import smallest_fall


@pytest.mark.parametrize(("queries", "fall"), [(50, 0.0624), (200, 0.0298), (1000, 0.0178)])
def test_it_is_what_was_measured_on_recorded_runs(queries: int, fall: float) -> None:
    assert smallest_fall(queries, margin=0.01) == pytest.approx(fall, abs=0.0012)


def test_it_begins_at_the_margin_and_ends_at_the_whole_metric() -> None:
    falls = [smallest_fall(queries, margin=0.02) for queries in (1, 2, 5, 50, 10**9)]
    assert falls == sorted(falls, reverse=True)
    assert falls[0] == 1.0
    assert falls[-1] == pytest.approx(0.02, abs=1e-4)
