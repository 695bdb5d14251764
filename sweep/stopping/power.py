"""What so many queries can tell: how small a fall can be proved, and how much too good the best of trials looks."""

from __future__ import annotations

import math

_SPREAD = 0.124
"""Standard deviation of a query's paired difference between two looks at one run, over the bank of recorded runs."""

_BEYOND, _BEYOND_FEW = 1.95, 52.0
"""Standard errors beyond the margin at which four of five falls are proved: the first, and the second over the queries.

Fitted to ``make bench-stopping``, part "power", at alpha 0.05: 2.98 with 50 queries, 2.25 with 200, 2.00 with 1,000.
"""


def smallest_fall(queries: int, *, margin: float) -> float:
    """The smallest lasting fall of the metric that the drop-off rule proves in four of five runs, at most 1.

    Args:
        queries: Queries that a model is evaluated on, at least 1.
        margin: The rule's margin.
    """
    beyond = _BEYOND + _BEYOND_FEW / queries
    return min(1.0, margin + beyond * _SPREAD / math.sqrt(queries))


_CURSE, _CURSE_TRIALS = 0.35, 0.32
"""Overstatement of the best of some trials, times the queries: the first, and the second over the trials' logarithm.

Fitted to ``make bench-stopping``, part "selection".
"""


def expected_overstatement(queries: int, trials: int) -> float:
    """By how much the best of some trials will look too good on dev, as far as recorded runs tell, at most 1.

    Args:
        queries: Queries that a model is evaluated on, at least 1.
        trials: Trials that it is chosen from, at least 1.
    """
    return min(1.0, (_CURSE + _CURSE_TRIALS * math.log(trials)) / queries)
