"""Mutants of how a study is drafted, and of the seeds that its trials are trained with."""

from __future__ import annotations

from mutation import of

STUDY = [
    *of(
        "sweep/coordinator/proposals.py",
        "tests/coordinator/test_seeds.py",
        (
            "every trial has the first seed",
            "listed[drawn.integers(len(listed))]",
            "listed[0]",
            "seeds_are_drawn_evenly_whatever_came_of_them",
        ),
    ),
    *of(
        "sweep/plan.py",
        "tests/coordinator/test_seeds.py",
        (
            "points with another seed are equal",
            '"seed": self.spec.seed_of(params),',
            '"seed": None,',
            "replicates_are_trained_each_and_the_same_seed_once",
        ),
    ),
    *of(
        "sweep/trial.py",
        "tests/test_trial.py::TestReports",
        (
            "a trial's own seed is not obeyed",
            "seed = task.spec.seed_of(params)",
            "seed = task.spec.seed",
            "its_own_seed_is_that_of_its_order_and_dropout_and_without_one_it_has_the_studys",
        ),
    ),
    *of(
        "sweep/drafting/drafted_settings.py",
        "tests/drafting/test_drafted_settings.py",
        (
            "the largest batch gets too few steps",
            "STEPS = 30",
            "STEPS = 19",
            "every_batch_can_be_filled_and_the_largest_gets_enough_steps",
        ),
    ),
    *of(
        "sweep/drafting/study_text.py",
        "tests/cli/test_init.py",
        (
            "an odd name is not quoted",
            'json.dumps(value, ensure_ascii=False).replace("\\x7f", "\\\\u007f")',
            "repr(value)",
            "an_odd_name_is_written_so_that_it_is_read_again",
        ),
    ),
    *of(
        "sweep/cli/init_command.py",
        "tests/cli/test_init.py",
        (
            "a file is overwritten without being told to",
            "        if force:\n            write_output",
            "        if True:\n            write_output",
            "a_file_that_appears_meanwhile_is_not_overwritten",
        ),
    ),
]
