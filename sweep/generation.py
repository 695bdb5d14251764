"""generate_queries: the queries that a study's data formats train on, generated and taken through their gates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweep.data import pin_collection
from sweep.data.answers import AnswerFile
from sweep.data.cache import cache_folder
from sweep.data.collection import Collection
from sweep.data.gates import GateContext, Passage, Reasons, pass_gates
from sweep.data.generated import GeneratedQuery
from sweep.data.generators.generator import Generator, hash_document, identify_generator
from sweep.data.lexical import place_own
from sweep.data.recipes import (
    Recipe,
    answer_path,
    collect_queries,
    describe_missing,
    find_askable,
    find_missing,
    queries_path,
    read_queries,
    write_queries,
)
from sweep.data.study_collection import (
    find_evaluated_recipe,
    judge_by_generated,
    list_recipes,
    load_named_collection,
)
from sweep.errors import CollectionError, StudyFileError
from sweep.generation_jobs import run_answer_jobs
from sweep.launch import Launcher, LocalLauncher
from sweep.launch.jobs import run_job
from sweep.messages import AnswerTask, Job, RoundTripTask
from sweep.plan import keep_begun_defaults
from sweep.setting_checks import check_settings
from sweep.settings.study_file import StudySpec
from sweep.signals import StopSignal
from sweep.storage.location import StudyLocation

JOBS = "sweep.trial"
"""Module that the processes of jobs are forked with: it has imported what a model needs."""


@dataclass(frozen=True, kw_only=True)
class GenerationPlan:
    """What the generated queries of a study follow from.

    Attributes:
        location: The study's file and database.
        spec: The file's content.
        collection: Its collection, without generated queries to train on.
        recipes: How the queries of each data format are made.
        evaluated: How those of dev and test are made, where nothing is judged and they have still to be added.
    """

    location: StudyLocation
    spec: StudySpec
    collection: Collection
    recipes: Sequence[Recipe]
    evaluated: Recipe | None = None

    def stages(self) -> Iterator[tuple[GenerationPlan, Recipe]]:
        """Each recipe with the plan that it is made by; those of dev and test come first, for others are not to leak.

        Raises:
            CollectionError: If the queries of dev and test were not generated when the next recipe is asked for.
        """
        if self.evaluated is not None:
            yield self, self.evaluated
        plan = self.judged()
        for recipe in self.recipes:
            yield plan, recipe

    def judged(self) -> GenerationPlan:
        """The plan of the queries to train on, in which those of dev and test are there.

        Raises:
            CollectionError: If they have still to be generated.
        """
        if self.evaluated is None:
            return self
        collection = judge_by_generated(self.collection, self.evaluated, self.read_queries(self.evaluated))
        return replace(self, collection=collection, evaluated=None)

    @property
    def folder(self) -> Path:
        """Folder of the study file, against which paths in it are resolved."""
        return self.location.run_folder.path.parent

    def queries_path(self, recipe: Recipe) -> Path:
        """The file of the queries of a data format."""
        return queries_path(self.collection, recipe, self.spec, folder=self.folder)

    def read_queries(self, recipe: Recipe) -> dict[str, Any]:
        """The queries of a data format and what its gates did, as `write_queries` wrote them.

        Raises:
            CollectionError: If they have still to be generated.
        """
        path = self.queries_path(recipe)
        if not path.exists():
            raise CollectionError(describe_missing(self.collection, recipe, self.spec, folder=self.folder))
        return read_queries(path)


def plan_generation(location: StudyLocation) -> GenerationPlan:
    """Reads a study file and its collection, and writes nothing.

    Raises:
        SweepError: If one of them cannot be used, or no data format of the space has generated queries.
    """
    path, spec = location.file, keep_begun_defaults(location.spec, location)
    recipes, evaluated = list_recipes(check_settings(path, spec).values()), find_evaluated_recipe(spec)
    if not recipes and evaluated is None:
        raise StudyFileError(
            path, "names no data format of generated queries, such as synthetic-query", key="space.data_format"
        )
    spec = spec.model_copy(update={"data": pin_collection(spec.data)})
    collection = load_named_collection(spec, folder=location.run_folder.path.parent)
    return GenerationPlan(location=location, spec=spec, collection=collection, recipes=recipes, evaluated=evaluated)


@dataclass(frozen=True)
class Step:
    """How far a generator has got: the documents that it has answered for, of all, and those before this run.

    At its beginning it has an estimate of what the others will cost, if they do.
    """

    recipe: Recipe
    generator: Generator
    done: int
    of: int
    before: int
    estimate: str = ""


Show = Callable[[Step], None]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a data format's queries.

    Attributes:
        recipe: How they were made.
        documents: Documents that were asked for.
        answers: Queries before the gates.
        passages: What each gate did.
        path: The file that they lie in.
    """

    recipe: Recipe
    documents: int
    answers: int
    passages: Sequence[Passage]
    path: Path


def generate_queries(
    plan: GenerationPlan, *, show: Show, stop: StopSignal, launcher: Launcher | None = None
) -> list[Outcome]:
    """Generates what is missing of a study's queries, takes them through their gates, and writes them.

    A document that has been answered for, in whatever run or study, is not asked for again.

    Args:
        plan: The study.
        show: Is told how far each generator has got.
        stop: Signals that end it.
        launcher: Runs the jobs of models; None runs each in a process of its own on this machine.

    Raises:
        SweepError: If a generator cannot go on, no document may be asked for, or no query passes. Answers stay.
    """
    own = launcher or LocalLauncher((JOBS,))
    try:
        return [_Generation(stage, recipe, show, stop, own).run() for stage, recipe in plan.stages()]
    finally:
        own.close()


@dataclass(frozen=True)
class _Generation:
    """The generation of one data format's queries."""

    plan: GenerationPlan
    recipe: Recipe
    show: Show
    stop: StopSignal
    launcher: Launcher

    def run(self) -> Outcome:
        plan, recipe = self.plan, self.recipe
        names = find_askable(plan.collection, plan.spec, recipe)
        if not names:
            raise CollectionError(
                f"{recipe.title}: no document may be generated for: of {len(plan.collection.documents):,} none has a"
                " text and is neither held out nor judged for dev or test"
            )
        for place in range(len(recipe.generators)):
            self._complete(place, names)
        answers = collect_queries(plan.collection, recipe, names, base=plan.spec.model, folder=plan.folder)
        passages = list(pass_gates(answers, self._look_around()))
        path = plan.queries_path(recipe)
        write_queries(path, recipe, answers, passages, documents=len(names))
        return Outcome(recipe=recipe, documents=len(names), answers=len(answers), passages=passages, path=path)

    def _complete(self, place: int, names: Sequence[str]) -> None:
        """Asks a generator for the documents that it has not answered for."""
        plan, generator = self.plan, self.recipe.generators[place]
        base = plan.spec.model
        missing = find_missing(plan.collection, generator, names, base=base, folder=plan.folder).documents
        before = len(names) - len(missing)
        step = Step(self.recipe, generator, done=before, of=len(names), before=before)
        estimate = generator.estimate([plan.collection.documents[name] for name in missing]) if missing else ""
        self.show(replace(step, estimate=estimate))
        if not missing:
            return
        facts = identify_generator(generator, base, folder=plan.folder)
        path = answer_path(facts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CollectionError(
                f"{path.parent}: cannot be made: {error.strerror}; set SWEEP_CACHE to a folder"
            ) from error
        with AnswerFile(path, facts) as file:
            if generator.job:
                self._ask_devices(place, step, missing, path)
            else:
                self._ask_here(step, missing, file)

    def _ask_here(self, step: Step, names: Sequence[str], file: AnswerFile) -> None:
        documents = [self.plan.collection.documents[name] for name in names]
        hashes = list(map(hash_document, documents))
        done = step.done

        def keep(place: int, answers: Sequence[str]) -> None:
            nonlocal done
            file.add(hashes[place], names[place], answers)
            done += 1
            self.show(replace(step, done=done))

        step.generator.generate(documents, keep=keep)

    def _ask_devices(self, place: int, step: Step, names: Sequence[str], path: Path) -> None:
        """Shares the documents out among the study's devices, by their lengths, so that all end at the same time."""
        plan = self.plan
        slots = {slot.place: slot for slot in reversed(self.launcher.find_slots(plan.spec.workers, stop=self.stop))}
        documents = plan.collection.documents
        ordered = sorted(names, key=lambda name: len(documents[name].text))
        shares = [ordered[number :: len(slots)] for number in range(len(slots))]
        tasks = [
            (
                slot,
                AnswerTask(
                    spec=plan.spec,
                    folder=plan.folder,
                    run_folder=path.parent,
                    device=slot.device,
                    data_format=self.recipe.label,
                    generator=place,
                    documents=tuple(
                        (name, hash_document(documents[name]), *astuple(documents[name])) for name in share
                    ),
                    answers=path,
                ),
            )
            for slot, share in zip(slots.values(), shares, strict=True)
            if share
        ]
        run_answer_jobs(
            tasks,
            body=step.generator.job,
            launcher=self.launcher,
            stop=self.stop,
            log=path.with_suffix(".log"),
            show=lambda made: self.show(replace(step, done=step.before + made)),
        )

    def _look_around(self) -> GateContext:
        collection = self.plan.collection
        held = [collection.queries[name] for name in sorted(collection.evaluated_queries & collection.queries.keys())]
        return GateContext(
            spec=self.recipe.gates,
            documents=collection.documents,
            held=held,
            examples=[generator.examples for generator in self.recipe.generators],
            round_trip=self._find_lost,
        )

    def _find_lost(self, queries: Sequence[GeneratedQuery], within: int) -> Reasons:
        """The queries whose documents no ranking of all documents has within the first so many."""
        documents, view = self.plan.collection.documents, self.plan.spec.data.document
        columns = {name: column for column, name in enumerate(documents)}
        own = np.array([columns[query.document] for query in queries], dtype=np.int64)
        texts = (document.embedded(view) for document in documents.values())
        if queries and self.recipe.needs_model:
            return self._find_lost_by_model(tuple(texts), tuple(query.text for query in queries), own, within)
        ranks = place_own(texts, [query.text for query in queries], own=own).tolist()
        return {
            place: f"its document stands at rank {rank:,}" if rank else "has no word in common with its document"
            for place, rank in enumerate(ranks)
            if not 1 <= rank <= within
        }

    def _find_lost_by_model(
        self, documents: tuple[str, ...], queries: tuple[str, ...], own: NDArray[np.int64], within: int
    ) -> Reasons:
        plan = self.plan
        slot = self.launcher.find_slots(plan.spec.workers, stop=self.stop)[0]
        task = RoundTripTask(
            spec=plan.spec,
            folder=plan.folder,
            run_folder=cache_folder(),
            device=slot.device,
            documents=documents,
            queries=queries,
            own=own,
            within=within,
        )
        job = Job(
            name="round-trip",
            body="sweep.training.round_trip:find_lost_queries",
            task=task,
            log=plan.queries_path(self.recipe).with_suffix(".log"),
            environment=slot.environment,
        )
        lost: list[int] = run_job(self.launcher, job, stop=self.stop)
        return dict.fromkeys(lost, f"its document is not among the first {within:,} of the untrained model")
