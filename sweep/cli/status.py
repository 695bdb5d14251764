"""The command ``status``."""

from __future__ import annotations

import json

from sweep.cli.leaderboard import print_leaderboard
from sweep.status import describe_standing, read_standing
from sweep.storage.location import StudyLocation


def print_status(location: StudyLocation, *, as_json: bool) -> None:
    """Prints where a study stands, for a person or for a machine.

    Raises:
        SweepError: If the study has not begun or cannot be read.
    """
    standing = read_standing(location)
    if as_json:
        print(json.dumps(describe_standing(standing), allow_nan=False, indent=2))
        return
    if standing.holder is not None:
        print(f"Run by process {standing.holder.pid} on {standing.holder.host} since {standing.holder.since}.")
    print_leaderboard(standing, location)
