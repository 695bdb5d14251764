"""The catalogue: mutants of behaviour, room by room, each with the tests of its room that are to fail on it."""

from __future__ import annotations

from mutation import Mutant

FORECAST = ("tests/stopping/test_forecast.py",)
RULES = ("tests/stopping/test_rules.py",)
PROGRESS = ("tests/test_progress.py",)
SPLIT = ("tests/data/test_split.py",)
ORDER = ("tests/data/test_order.py",)
CHECKPOINT = ("tests/training/test_checkpoint.py",)
GUARD = ("tests/test_guard.py",)

_STOPPING = [
    Mutant("a forecast allows for less wander", "sweep/stopping/forecast.py", "WANDER = 0.5", "WANDER = 0.4", FORECAST),
    Mutant("a gain is taken over two looks", "sweep/stopping/forecast.py", "MIN_LOOKS = 3", "MIN_LOOKS = 2", FORECAST),
    Mutant(
        "a gain is taken over a longer window", "sweep/stopping/forecast.py", "WINDOW = 0.25", "WINDOW = 0.35", FORECAST
    ),
    Mutant(
        "the first steps count as fast as they were",
        "sweep/stopping/forecast.py",
        "SHORTEST = 0.1",
        "SHORTEST = 0.05",
        FORECAST,
    ),
    Mutant(
        "a forecast forgets the margin",
        "sweep/stopping/forecast.py",
        "needed=float(means[peak]) + self.margin",
        "needed=float(means[peak])",
        FORECAST,
    ),
    Mutant(
        "a forecast ignores the fastest gain",
        "sweep/stopping/forecast.py",
        "error / width, _fastest_gain(means, spent))",
        "error / width)",
        FORECAST,
    ),
    Mutant(
        "a forecast can stop within the grace",
        "sweep/stopping/forecast.py",
        "progress[-1] >= not_before + self.grace)",
        "progress[-1] >= not_before)",
        FORECAST,
    ),
    Mutant(
        "alpha is spent along progress itself",
        "sweep/stopping/rules.py",
        "due = [math.sqrt(",
        "due = [float(",
        RULES,
    ),
    Mutant(
        "comparisons are not counted",
        "sweep/stopping/rules.py",
        "self.alpha * share / comparisons))",
        "self.alpha * share))",
        RULES,
    ),
    Mutant(
        "the margin is not taken off a fall",
        "sweep/stopping/rules.py",
        "_divide(differences - self.margin, errors)",
        "_divide(differences, errors)",
        RULES,
    ),
    Mutant(
        "a normal quantile in place of Student's",
        "sweep/stopping/rules.py",
        "float(-stdtrit(freedom, self.alpha",
        "float(-stdtrit(10**6, self.alpha",
        RULES,
    ),
    Mutant(
        "a drop-off can stop within the grace",
        "sweep/stopping/rules.py",
        "can_stop=bool(progress[-1] >= not_before + self.grace)",
        "can_stop=bool(progress[-1] >= not_before)",
        RULES,
    ),
]

_DATA = [
    Mutant(
        "an evaluation is stored under the first point it reaches",
        "sweep/progress.py",
        "{-(-point * steps // WHOLE): point for point in grid}",
        "{-(-point * steps // WHOLE): point for point in reversed(grid)}",
        PROGRESS,
    ),
    Mutant(
        "an evaluation comes a step early",
        "sweep/progress.py",
        "{-(-point * steps // WHOLE): point",
        "{max(1, point * steps // WHOLE): point",
        PROGRESS,
    ),
    Mutant(
        "a warm-up of a rounding error is a step",
        "sweep/progress.py",
        "ROUNDING = 1e-9",
        "ROUNDING = 0.0",
        PROGRESS,
    ),
    Mutant(
        "a value is carried backward",
        "sweep/progress.py",
        "bisect.bisect_right(curve, progress",
        "bisect.bisect_left(curve, progress",
        PROGRESS,
    ),
    Mutant(
        "twins of a judged document are trained on",
        "sweep/data/split.py",
        "frozenset(judged | twins)",
        "frozenset(judged)",
        SPLIT,
    ),
    Mutant(
        "queries of one text fall into two splits",
        "sweep/data/split.py",
        '[("query text", queries[query])] if queries[query].strip() else []',
        "[]",
        SPLIT,
    ),
    Mutant(
        "a split does not depend on its seed",
        "sweep/data/split.py",
        "np.random.default_rng(seed).permutation(len(sizes))",
        "np.random.default_rng(0).permutation(len(sizes))",
        SPLIT,
    ),
    Mutant(
        "a pass repeats the shuffle of the one before",
        "sweep/data/order.py",
        "np.random.default_rng([seed, passes])",
        "np.random.default_rng([seed])",
        ORDER,
    ),
    Mutant(
        "a text stands twice in a batch",
        "sweep/data/order.py",
        "if batch not in map(used.get, row):",
        "if batch != used.get(row[0]):",
        ORDER,
    ),
]

_FILES = [
    Mutant(
        "a checkpoint counts whatever its files hold",
        "sweep/training/checkpoint.py",
        "if _describe(folder / name) != expected:",
        "if not (folder / name).exists():",
        CHECKPOINT,
    ),
    Mutant(
        "a manifest may name files outside of its folder",
        "sweep/training/checkpoint.py",
        'if Path(name).is_absolute() or ".." in Path(name).parts:',
        "if Path(name).is_absolute():",
        CHECKPOINT,
    ),
    Mutant(
        "the oldest checkpoint is taken",
        "sweep/training/checkpoint.py",
        "for folder in reversed(list(folders)):",
        "for folder in list(folders):",
        CHECKPOINT,
    ),
    Mutant(
        "a page of another site may change notes",
        "sweep/guard.py",
        'if environ.get("HTTP_ORIGIN", f"http://{host}") != f"http://{host}":',
        'if environ.get("HTTP_ORIGIN") == "null":',
        GUARD,
    ),
    Mutant(
        "the dashboard answers to any name",
        "sweep/guard.py",
        'if host.rsplit(":", 1)[0] not in NAMES:',
        "if not host:",
        GUARD,
    ),
]

MUTANTS = [*_STOPPING, *_DATA, *_FILES]
