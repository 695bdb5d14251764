"""Mutants of the diagnosis: each breaks its statistics in one place, and its tests have to fail on it.

A mutant is (name, file, old text, new text, tests): the old text stands once in the file.
"""

from __future__ import annotations

SURFACE = "sweep/report/diagnosis/surface.py"
EFFECTS = "sweep/report/diagnosis/effects.py"
STATISTICS = "tests/report/test_statistics.py::test_"

MUTANTS: list[tuple[str, str, str, str, str]] = [
    (
        "a Gibbs chain of one sweep",
        SURFACE,
        "SWEEPS = 8000, 8, 20",
        "SWEEPS = 8000, 8, 1",
        f"{STATISTICS}stopped_runs_that_hang_together_are_drawn_from_a_chain_that_has_mixed",
    ),
    (
        "draws that are not shuffled",
        EFFECTS,
        "return draws[np.random.default_rng(seed).permutation(len(draws))]",
        "return draws",
        f"{STATISTICS}the_draws_of_two_outcomes_are_joined_without_the_order_of_their_noise",
    ),
    (
        "no sharing between formats",
        SURFACE,
        "shared = 0.5 + 0.5 * equal(",
        "shared = equal(",
        f"{STATISTICS}a_format_of_few_runs_borrows_from_the_other",
    ),
    (
        "the sign of an effect",
        SURFACE,
        "(1.0, -1.0)[index % 2]",
        "(-1.0, 1.0)[index % 2]",
        "tests/report/test_surface.py::test_two_runs_that_differ_far_beyond_their_noise_tell_the_effect",
    ),
    (
        "bounds of one column at a time",
        SURFACE,
        "level = np.sort(ranks.min(axis=1))",
        "level = np.sort(ranks[:, 0])",
        f"{STATISTICS}bounds_of_all_causes_are_wider_than_of_one_alone",
    ),
    (
        "a stopped run taken for a whole one",
        EFFECTS,
        "stopped=np.array([each.is_stopped for each in reached])",
        "stopped=np.zeros(len(reached), dtype=bool)",
        f"{STATISTICS}a_fall_that_was_stopped_is_not_taken_for_the_last_word",
    ),
    (
        "runs of the same noise",
        SURFACE,
        "np.linalg.inv(prior.covariance(settings, settings, rest=rest) + np.diag((factor * outcomes.noise) ** 2))",
        "np.linalg.inv(prior.covariance(settings, settings, rest=rest) + 0.004**2 * np.eye(len(settings)))",
        f"{STATISTICS}a_run_of_more_noise_says_less",
    ),
    (
        "the last value wherever runs are compared",
        "sweep/report/diagnosis/runs.py",
        "end = 0 if last is None else int(last)",
        "end = len(values) - 1 if last is not None else 0",
        "tests/report/test_runs.py::test_what_is_measured_between_two_points_is_carried_forward_to_the_second",
    ),
    (
        "advice against the best runs",
        "sweep/report/diagnosis/advice.py",
        "if not beyond:",
        "if beyond is not None:",
        "tests/report/test_diagnosis.py::test_no_end_is_moved_past_a_run_that_cannot_be_told_from_the_best",
    ),
]
