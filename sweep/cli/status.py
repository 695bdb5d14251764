"""The command ``status``."""

from __future__ import annotations

import json
from pathlib import Path

from sweep.cli.leaderboard import print_leaderboard
from sweep.status import describe_standing, read_standing


def print_status(study: str, *, as_json: bool, storage: str | None) -> None:
    """Prints where a study stands, for a person or for a machine.

    Raises:
        SweepError: If the study has not begun or cannot be read.
    """
    standing = read_standing(study, storage=storage)
    if as_json:
        print(json.dumps(describe_standing(standing), allow_nan=False, indent=2))
        return
    if standing.holder is not None:
        print(f"Run by process {standing.holder.pid} on {standing.holder.host} since {standing.holder.since}.")
    print_leaderboard(standing, study=Path(study))
