"""The command ``status``: where a study stands."""

from __future__ import annotations

import json

from sweep.cli.leaderboard import print_leaderboard
from sweep.status import describe_study
from sweep.study import Study


def print_status(study: Study, *, as_json: bool) -> None:
    """Prints where a study stands, as a leaderboard or as JSON."""
    if as_json:
        print(json.dumps(describe_study(study), allow_nan=False, indent=2))
        return
    if study.owner is not None:
        print(f"Run by process {study.owner.pid} on {study.owner.host} since {study.owner.since}.")
    print_leaderboard(study)
