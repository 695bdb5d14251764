"""StudyPlan: everything that a run of a study file needs, checked before anything is written."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from sweep.data import (
    Collection,
    Columns,
    EvaluationSet,
    Format,
    Split,
    count_distinct,
    pin_collection,
    plan_judged,
    plan_order,
)
from sweep.data.formats import TrainingRows, make_rows
from sweep.data.locate import locate_base_model
from sweep.data.recipes import add_generated
from sweep.data.sections import share_out
from sweep.data.study_collection import list_recipes, load_judged_collection
from sweep.errors import CollectionError, StorageError, StudyFileError, SweepError
from sweep.measures.benchmarks import Benchmark, weigh_queries
from sweep.progress import COMPLETE, PlannedEvaluation, count_steps, count_warmup_steps, plan_evaluations, warmup_end
from sweep.run_folder import RunFolder
from sweep.setting_checks import check_settings
from sweep.settings.begun import keep_defaults, names_all_defaults, read_begun
from sweep.settings.dimensions import MIXTURE, Params
from sweep.settings.ranges import ends
from sweep.settings.space import SearchSpace
from sweep.settings.study_file import ConfirmSpec, DropOffSpec, StudySpec
from sweep.stopping.forecast import spent_rate
from sweep.stopping.rungs import find_rungs
from sweep.storage.location import StudyLocation, read_attributes
from sweep.storage.records import SPEC
from sweep.training.model_config import read_model_config


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """A valid study file, and everything that follows from it.

    Attributes:
        location: The study's file and database.
        spec: The file's content, with the budget of trials that a command named, and the scale that suits the model.
        collection: Its collection, loaded and split.
        rows: Training columns of every data format of the space, and where their rows come from.
        base_model: Folder of the base model.
        revision: Identity of the base model.
        similarity: Function that compares its embeddings.
        confirm: How its best configurations are confirmed at its end, or None.
        is_confirming: Whether that was asked for by command, though the file may leave it out.
    """

    location: StudyLocation
    spec: StudySpec
    collection: Collection
    rows: Mapping[str, TrainingRows]
    base_model: Path
    revision: str
    similarity: str = "cosine"
    confirm: ConfirmSpec | None = None
    is_confirming: bool = False

    @property
    def file(self) -> Path:
        """The study file, by its full path."""
        return self.location.file.resolve()

    @property
    def folder(self) -> Path:
        """Folder of the study file."""
        return self.file.parent

    @property
    def run_folder(self) -> RunFolder:
        """Paths of the study's output."""
        return self.location.run_folder

    @property
    def shared_folder(self) -> Path:
        """Folder that workers elsewhere must reach: the study's, or where it has none yet, that of its file."""
        path = self.run_folder.path
        return path if path.is_dir() else path.parent

    @property
    def columns(self) -> dict[str, Columns]:
        """Training columns of every data format of the space."""
        return {name: rows.columns for name, rows in self.rows.items()}

    @property
    def space(self) -> SearchSpace:
        """The search space."""
        return SearchSpace(self.spec.space, seed=self.spec.seed)

    @cached_property
    def has_test_split(self) -> bool:
        """Whether the collection has a query for the one evaluation on the test split."""
        judged = self.collection.qrels.get("test", {}).values()
        return any(self.collection.is_relevant(grade) for grades in judged for grade in grades.values())

    def evaluation_set(self, split: Split) -> EvaluationSet:
        """The queries and documents that a model is evaluated on."""
        return plan_judged(self.spec, self.collection, split)

    @cached_property
    def benchmarks(self) -> tuple[Benchmark, ...]:
        """The benchmarks of a study with several sources."""
        sets = {split: self.evaluation_set(split) for split in self.splits}
        counts = {split: {block.name: block.queries for block in known.blocks} for split, known in sets.items()}
        return tuple(
            Benchmark(
                name=block.name,
                weight=block.weight,
                dev=block.queries,
                test=counts.get("test", {}).get(block.name, 0),
            )
            for block in sets["dev"].blocks
        )

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that models are evaluated on."""
        return ("dev", "test") if self.has_test_split else ("dev",)

    def query_weights(self, split: Literal["dev", "test"]) -> NDArray[np.float64] | None:
        """(Q,) weight of each query in the objective; None where all count the same."""
        return weigh_queries(self.benchmarks, split)

    def steps(self, batch_size: int, *, length: int = 1) -> int:
        """Optimizer steps of a trial, whose length is given in multiples of the study's examples."""
        return count_steps(self.spec.budget.examples * length, batch_size)

    def warmup_end(self, params: Params) -> float:
        """Progress in [0, 1] at which a trial's warm-up ends."""
        return warmup_end(params.warmup_ratio, self.steps(params.batch_size, length=params.length))

    def trained_as(self, params: Params) -> tuple[object, ...]:
        """What training makes of a trial's settings, its seed among them: two trials for which it is equal are one run.

        The rate is the effective one, without the last digits, which are the rounding of a sampler; a warm-up is a
        whole number of steps.
        """
        settings = params.as_dict() | {
            "learning_rate": None,
            "warmup_ratio": count_warmup_steps(
                params.warmup_ratio, self.steps(params.batch_size, length=params.length)
            ),
            "seed": self.spec.seed_of(params),
        }
        return tuple(float(f"{value:.12g}") if isinstance(value, float) else value for value in settings.values())

    def evaluations(self, batch_size: int, *, length: int = 1) -> tuple[PlannedEvaluation, ...]:
        """Evaluations of a trial."""
        return plan_evaluations(self.spec.evaluation.grid_points, self.steps(batch_size, length=length))

    def rungs(self, params: Params) -> tuple[int, ...]:
        """Progress in thousandths at which a trial pauses, one a rung; none where the study has no rungs."""
        if not self.spec.rungs:
            return ()
        return find_rungs(
            self.spec.rungs.at,
            [planned.progress for planned in self.evaluations(params.batch_size, length=params.length)],
            warmup_end=self.warmup_end(params),
            grace=(self.spec.stopping.drop_off or DropOffSpec()).grace,
            scheduler=params.scheduler,
        )

    def spent(self, params: Params, progress: int) -> float:
        """Share of its learning rate that a trial has spent at a progress in thousandths."""
        return float(spent_rate(np.array([progress / COMPLETE]), self.warmup_end(params), params.scheduler)[0])


def plan_study(
    location: StudyLocation,
    *,
    trials: int | None = None,
    after: StudyLocation | None = None,
    confirm: Mapping[str, int] | None = None,
    collection: Collection | None = None,
) -> StudyPlan:
    """Reads everything that a study file names, and writes nothing.

    A setting of the data, or the grid, that the file leaves out is that of the study, where it has begun, and not
    today's default.

    Args:
        location: The study.
        trials: Budget of trials in place of the file's.
        after: Another study, whose settings count where this one has not begun.
        confirm: Settings of a confirmation in place of the file's, where one is asked for by command.
        collection: The collection that the file names, where it was loaded before.

    Raises:
        SweepError: If the file's collection, base model or space does not fit the study.
    """
    path, spec = location.file, location.spec
    if trials is not None:
        if trials < 1:
            raise SweepError(f"--trials must be at least 1, got {trials}")
        spec = spec.model_copy(update={"budget": spec.budget.model_copy(update={"trials": trials})})
    spec = keep_begun_defaults(spec, location if after is None or location.database.exists() else after)
    formats = check_settings(path, spec)
    folder = location.run_folder.path.parent
    base_model, revision = locate_base_model(spec.model.base, folder)
    config = read_model_config(base_model)
    if "scale" not in spec.space.model_fields_set:  # a dimension's default cannot know the model
        spec = spec.model_copy(update={"space": spec.space.model_copy(update={"scale": config.scale})})
    spec = spec.model_copy(update={"data": pin_collection(spec.data)})  # every trial of the study reads this revision
    collection = _add_generated(path, collection or load_judged_collection(spec, folder=folder), formats, spec)
    rows = {name: make_rows(collection, formats[name], document=spec.data.document) for name in formats}
    plan = StudyPlan(
        location=location,
        spec=spec,
        collection=collection,
        rows=rows,
        base_model=base_model,
        revision=revision,
        similarity=config.similarity,
        confirm=_choose_confirm(path, spec, confirm),
        is_confirming=confirm is not None,
    )
    plan.evaluation_set("dev")
    _check_batches(plan)
    return plan


def _add_generated(file: Path, collection: Collection, formats: Mapping[str, Format], spec: StudySpec) -> Collection:
    try:
        return add_generated(collection, list_recipes(formats.values()), spec, folder=file.resolve().parent)
    except CollectionError as error:
        raise CollectionError(f"{file}: {error}") from error


def _choose_confirm(file: Path, spec: StudySpec, asked: Mapping[str, int] | None) -> ConfirmSpec | None:
    """The confirmation of the study file, with the settings that were asked for by command in place of its own."""
    confirm = (spec.confirm or None) if asked is None else _ask_for_confirm(spec, asked)
    if confirm and confirm.top > spec.budget.trials:
        problem = f"{confirm.top} is above the {spec.budget.trials} trials of budget.trials: lower it"
        raise StudyFileError(file, problem, key="confirm.top")
    return confirm


def _ask_for_confirm(spec: StudySpec, asked: Mapping[str, int]) -> ConfirmSpec:
    try:
        return ConfirmSpec.model_validate((spec.confirm or ConfirmSpec()).model_dump() | dict(asked))
    except ValidationError as error:
        first = error.errors()[0]
        raise SweepError(
            f"--{first['loc'][0]}: {first['msg'][:1].lower()}{first['msg'][1:]}, got {first['input']}"
        ) from None


def keep_begun_defaults(spec: StudySpec, location: StudyLocation) -> StudySpec:
    """A study file with the defaults of the time when its study began, if it has."""
    if names_all_defaults(spec):
        return spec
    with contextlib.suppress(StorageError, ValidationError):  # a run says what is wrong with them
        attributes = read_attributes(location.database)
        return keep_defaults(spec, read_begun(attributes[SPEC])) if SPEC in attributes else spec
    return spec


def _check_batches(plan: StudyPlan) -> None:
    """Refuses a largest batch that a data format cannot fill without repeating a text."""
    largest = plan.spec.space.batch_sizes[-1]
    for name, rows in plan.rows.items():
        distinct = count_distinct(rows.columns)
        if largest > distinct:
            raise StudyFileError(
                plan.file,
                f"{largest} is above the {distinct} distinct texts of data format {name}, and no text may stand twice"
                " in a batch: lower it",
                key="space.batch_size",
            )
        steps, seeds = plan.steps(largest), plan.spec.space.seed or (plan.spec.seed,)
        mixtures = dict.fromkeys(ends(plan.spec.space.mixture)) if MIXTURE in name else [None]
        for mixture, seed in itertools.product(mixtures, seeds):
            sections = share_out(rows.sections, mixture)
            plan_order(rows.columns, batch_size=largest, steps=steps, seed=seed, sections=sections)
