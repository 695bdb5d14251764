"""Changes of a study file after its study has begun: which are allowed, and their history."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from sweep.data.locate import identify_by_weights
from sweep.errors import StorageError, StudyChangedError
from sweep.plan import StudyPlan
from sweep.settings.begun import read_begun
from sweep.settings.dimensions import DIMENSIONS
from sweep.settings.space import SearchSpace
from sweep.settings.study_file import StudySpec
from sweep.storage.records import BASE_MODEL, BENCHMARKS, COLLECTION_HASH, HISTORY, SIMILARITY, SPEC, SPEC_NOW

CHOICES = tuple(f"space.{dimension.name}" for dimension in DIMENSIONS if dimension.kind == "choice")
"""Lists of choices: Optuna cannot widen them."""

_TABLES = ("seed", "model", "data", "evaluation", "budget.examples", "formats", "loss")
SETTLED = (*_TABLES, *CHOICES, "space.learning_rate_rule")
"""Keys that every trial of a study must share, so that trials can be compared; the rest may change between runs."""


MEANINGS = {"rungs": "trials that have ended take part at each rung by what they measured there"}
"""Meaning of a change for what was done before, by its key."""


@dataclass(frozen=True)
class Change:
    """A key of the study file that changed between two runs, with both values; None where a list had no such entry."""

    key: str
    old: Any
    new: Any

    def __str__(self) -> str:
        """The change as a line."""
        meaning = MEANINGS.get(self.key)
        return f"{self.key}: {self.old} is now {self.new}" + (f" ({meaning})" if meaning else "")


def find_changes(attributes: Mapping[str, Any], spec: StudySpec) -> list[Change]:
    """The changes of a study file since the study's last run; a key that is new in this program is none."""
    last = read_begun(attributes.get(SPEC_NOW, attributes[SPEC])).model_dump(mode="json")
    return [Change(*difference) for difference in _differences("", last, spec.model_dump(mode="json"))]


def describe_history(attributes: Mapping[str, Any], changes: list[Change], spec: StudySpec) -> dict[str, Any]:
    """The study attributes with the content of its file now, and every change that led there."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    entries = [{"time": now, "key": change.key, "old": change.old, "new": change.new} for change in changes]
    return {HISTORY: [*attributes.get(HISTORY, ()), *entries], SPEC_NOW: spec.model_dump(mode="json")}


def describe_beginning(plan: StudyPlan, *, revision: str, collection_hash: str) -> dict[str, Any]:
    """The study attributes of a study's beginning; the study file's content comes last."""
    content = {BASE_MODEL: revision, COLLECTION_HASH: collection_hash, SIMILARITY: plan.similarity}
    benchmarks = {BENCHMARKS: [asdict(one) for one in plan.benchmarks]} if plan.benchmarks else {}
    return {**content, **benchmarks, SPEC: plan.spec.model_dump(mode="json")}


def check_unchanged(plan: StudyPlan, attributes: Mapping[str, Any], *, has_measured: bool = True) -> None:
    """Compares a study file with the attributes of its study's beginning.

    Args:
        plan: The study.
        attributes: The study's attributes.
        has_measured: Whether a trial was measured or goes on, so that the content of model and collection must stay.

    Raises:
        StudyChangedError: If something changed that every trial of a study must share.
        StorageError: If the attributes cannot be read.
    """
    file, spec = plan.file, plan.spec
    try:
        began = read_begun(attributes[SPEC])
    except ValidationError as error:
        raise StorageError(f"{file}: its study was begun by another version of this program") from error
    old, new = began.model_dump(mode="json"), spec.model_dump(mode="json")
    for key in SETTLED:
        for leaf, before, after in find_differences(key, old, new):
            raise StudyChangedError(file, key=leaf, old=before, new=after)
    before, after = SearchSpace(began.space).distributions, SearchSpace(spec.space).distributions
    for dimension in DIMENSIONS:
        was, now = (getattr(space.get(dimension.parameter), "log", False) for space in (before, after))
        if was != now:
            raise StudyChangedError(file, key=f"space.{dimension.name}.log", old=was, new=now)
    for key, was, now in find_content_changes(plan, attributes) if has_measured else ():
        raise StudyChangedError(file, key=key, old=was, new=now)


def find_content_changes(plan: StudyPlan, attributes: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The base model and collection whose content is not that of a study's attributes: (key, old, new) hashes."""
    base, collection = attributes.get(BASE_MODEL), attributes.get(COLLECTION_HASH)
    if base not in (plan.revision, None) and base == identify_by_weights(plan.base_model):
        base = plan.revision  # a study of a version that knew a base model by its weights alone
    for key, was, now in (
        ("model.base (its content)", base, plan.revision),
        ("model.base (its similarity)", attributes.get(SIMILARITY, "cosine"), plan.similarity),  # the only one before
        ("data.collection (its content)", collection, plan.collection.content_hash),
    ):
        if was != now:
            yield key, str(was)[:12], now[:12]


def find_differences(key: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """The leaves below a key in which two study files differ: (key, old, new)."""
    return _differences(key, _lookup(old, key), _lookup(new, key))


def _lookup(tables: Any, key: str) -> Any:
    for part in key.split("."):
        tables = tables[part]
    return tables


def _differences(key: str, old: Any, new: Any) -> list[tuple[str, Any, Any]]:
    """The leaves in which two values differ: (key, old, new)."""
    if isinstance(old, dict) and isinstance(new, dict):
        names = sorted(old.keys() | new.keys())
        inner = (_differences(f"{key}.{name}".lstrip("."), old.get(name), new.get(name)) for name in names)
        return list(itertools.chain.from_iterable(inner))
    return [] if old == new else [(key, old, new)]
