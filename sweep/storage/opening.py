"""Optuna's storage on a database, without reading Optuna's migrations anew each time one is opened."""

from __future__ import annotations

from typing import Any

from optuna.storages import RDBStorage

_fitting_versions: set[str] = set()
"""Versions of Optuna's tables that this process has found to be those of the installed Optuna."""


def open_optuna_storage(url: str, *, skip_compatibility_check: bool = False, **settings: Any) -> RDBStorage:
    """Opens Optuna's storage; its own check of its tables' version is made once for each version that is met.

    The check imports every migration that Optuna has ever had, which takes longer than all else of opening a study.

    Args:
        url: Address of the database.
        skip_compatibility_check: Whether the tables' version is not looked at, as for a database that is being made.
        settings: Further arguments of ``RDBStorage``.

    Raises:
        RuntimeError: By Optuna, if the tables are of a version that the installed Optuna cannot use.
    """
    if not skip_compatibility_check and _fitting_versions:
        storage = RDBStorage(url, skip_compatibility_check=True, **settings)
        if storage.get_current_version() in _fitting_versions:
            return storage
        storage.engine.dispose()
    storage = RDBStorage(url, skip_compatibility_check=skip_compatibility_check, **settings)
    if not skip_compatibility_check:
        _fitting_versions.add(storage.get_current_version())
    return storage
