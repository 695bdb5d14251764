"""check_settings: what of a study file is checked before its model and collection are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sweep.data import FORMATS, Format, choose_format
from sweep.data.formats import kind_of
from sweep.data.sources import EVALUATES_GENERATED
from sweep.errors import StudyFileError
from sweep.settings.dimensions import DIMENSIONS, MIXTURE
from sweep.settings.entries import check_entry
from sweep.settings.space import SearchSpace
from sweep.settings.study_file import StudySpec
from sweep.training.losses import LOSSES


def check_settings(file: Path, spec: StudySpec) -> dict[str, Format]:
    """Checks what of a study file can be checked without its model and collection; the data formats of its space.

    Raises:
        StudyFileError: If the space, a data format, the loss or an option of these does not stand.
    """
    SearchSpace(spec.space).check(file)
    formats = _check_formats(file, spec)
    name, key = spec.evaluation.generated_queries, EVALUATES_GENERATED
    if name is not None and _check_format(file, spec, name, key=key).recipe is None:
        raise StudyFileError(file, f"{name} generates no queries; name a variant of synthetic-query", key=key)
    _check_loss(file, spec, formats)
    _check_ranks(file, spec)
    return formats


def _check_ranks(file: Path, spec: StudySpec) -> None:
    """Refuses batches that the GPUs of a trial cannot share evenly."""
    count = spec.workers.gpus_per_trial
    for size in spec.space.batch_sizes:
        if size % count:
            problem = f"{size} pairs cannot be shared evenly by {count} GPUs: set it to a divisor of every batch size"
            raise StudyFileError(file, problem, key="workers.gpus_per_trial")


def _check_formats(file: Path, spec: StudySpec) -> dict[str, Format]:
    """The data formats of the space with their options; refuses unknown names, options and mixtures."""
    for name in spec.formats:
        if MIXTURE in name:
            raise StudyFileError(
                file, f"{name} is a mixture, and has no options but those of its parts", key=f"formats.{name}"
            )
        _check_format(file, spec, name, key="formats")
    formats = {}
    for name in spec.space.data_format:
        parts = [_check_format(file, spec, part, key="space.data_format") for part in name.split(MIXTURE)]
        if any(part.roles != parts[0].roles for part in parts):
            columns = "; ".join(f"{part.label}: {', '.join(part.roles)}" for part in parts)
            raise StudyFileError(
                file, f"{name} mixes formats of different columns ({columns})", key="space.data_format"
            )
        formats[name] = choose_format(spec, name)
    return formats


def _check_format(file: Path, spec: StudySpec, name: str, *, key: str) -> Format:
    """One data format, or a variant of one, with its options."""
    options, table = spec.formats.get(name, {}), f"formats.{name}"
    kind = kind_of(name)
    return check_entry(FORMATS, kind, options, kind="data format", file=file, key=key, table=table).labelled(name)


def _check_loss(file: Path, spec: StudySpec, formats: Mapping[str, Format]) -> None:
    """Refuses an unknown loss, unknown options, and data formats that the loss cannot train on."""
    name, options = spec.loss.name, spec.loss.options
    for dimension in DIMENSIONS:
        if dimension.name in options:
            raise StudyFileError(
                file, f"is searched: set space.{dimension.name} instead", key=f"loss.options.{dimension.name}"
            )
    loss = check_entry(LOSSES, name, options, kind="loss", file=file, key="loss.name", table="loss.options")
    for name, data_format in formats.items():
        if mismatch := loss.find_mismatch(data_format.roles):
            raise StudyFileError(file, f"{loss.name} {mismatch} as in data format {name}", key="loss.name")
