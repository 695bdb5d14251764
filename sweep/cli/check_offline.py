"""The command ``check --offline``: a study file as far as it can be checked with what is on this machine."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator
from pathlib import Path

from sweep.cli.check import check
from sweep.cli.check_data import WIDTH
from sweep.cli.check_settings import describe_settings, describe_trials
from sweep.data import load_collection
from sweep.data.locate import locate_base_model
from sweep.errors import CollectionError, ModelError
from sweep.setting_checks import check_settings
from sweep.settings.data_spec import DataSpec
from sweep.storage.location import StudyLocation


def check_offline(location: StudyLocation, *, measure: bool) -> None:
    """Checks a study file without the network; what is neither on this machine nor in its caches is named.

    Raises:
        SweepError: If the study file, or what is here, cannot be used.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"  # before the hub's library is imported
    missing = list(find_missing(location))
    if not missing:
        check(location, measure=measure)
        return
    spec = location.spec
    check_settings(location.file, spec)
    print(*describe_settings(spec), *describe_trials(spec), sep="\n")
    for line in missing:
        print(textwrap.fill(f"Missing:  {line}", WIDTH, subsequent_indent=" " * 10))
    print(f"{location.file} is valid as far as can be told without what is missing.")


def find_missing(location: StudyLocation) -> Iterator[str]:
    """What a study names that is not on this machine: its base model, and its collections."""
    folder, data = location.run_folder.path.parent, location.spec.data
    try:
        locate_base_model(location.spec.model.base, folder)
    except ModelError as error:
        yield str(error)
    for name in dict.fromkeys([source.collection for source in data.sources] or [data.collection]):
        scheme, colon, source = name.partition(":")
        is_remote = bool(colon) and scheme == "hub"
        path = folder / Path(source if scheme == "beir" and colon else name).expanduser()
        if is_remote or not (path.exists() or scheme == "package"):
            try:
                load_collection(DataSpec(collection=name), folder=folder)
            except CollectionError as error:
                yield str(error)
