"""QueriesView: the generated queries of a data format, what made them, and what its gates did."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sweep.data.generators.generator import Generator, identify_generator
from sweep.data.recipes import Recipe, add_generated
from sweep.data.study_collection import find_evaluated_recipe, list_recipes
from sweep.errors import StudyFileError, SweepError
from sweep.generation import GenerationPlan, plan_generation
from sweep.setting_checks import check_settings
from sweep.storage.records import COLLECTION_HASH
from sweep.study import Study


@dataclass(frozen=True, kw_only=True)
class GeneratorView:
    """A generator of a data format's queries.

    Attributes:
        label: The generator, for a person.
        model: Hash or revision of its model, or the name under which a server has it; empty without a model.
        prompt: What the model is asked, with its examples; empty without a model.
        settings: Its other options, as text.
    """

    label: str
    model: str
    prompt: str
    settings: Mapping[str, str]

    @property
    def prompt_hash(self) -> str:
        """SHA-256 (hex) of the prompt."""
        return hashlib.sha256(self.prompt.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class QueriesView:
    """The generated queries of a data format.

    Attributes:
        label: Name of the data format in the study, and what its queries are for where they are not trained on.
        use: What is done with those that its gates kept.
        generators: Its generators.
        stored: The queries and what each gate did, as `sweep.data.recipes.read_queries` gives them; empty where they
            cannot be shown.
        missing: Why they cannot be shown; else empty.
        caution: What to know of them; empty where there is nothing.
    """

    label: str
    use: str = "are trained on"
    generators: Sequence[GeneratorView] = ()
    stored: Mapping[str, Any] = field(default_factory=dict)
    missing: str = ""
    caution: str = ""


def view_queries(plan: GenerationPlan, recipe: Recipe, *, caution: str = "") -> QueriesView:
    """The queries of a data format as they lie in the cache.

    Raises:
        SweepError: If they have still to be generated, or cannot be read.
    """
    stored = plan.read_queries(recipe)
    views = [
        _view_generator(plan, generator, label)
        for generator, label in zip(recipe.generators, stored["made_by"], strict=True)
    ]
    use = "make dev and test" if recipe.is_evaluated else "are trained on"
    return QueriesView(label=recipe.title, use=use, generators=views, stored=stored, caution=caution)


def view_trained_queries(study: Study) -> list[QueriesView]:
    """The queries of each data format of generated queries that a study has trained on, also in a mixture.

    Where dev and test are made of such queries, these come first. Those that cannot be shown say why, for a report goes
    on without them.
    """
    trained = {trial.params.data_format for trial in study.record.trials if trial.params is not None}
    try:
        formats = check_settings(study.file, study.spec)
    except StudyFileError:  # the file was changed since, and says no more what its formats were
        return []
    evaluated = find_evaluated_recipe(study.spec)
    recipes = list_recipes(known for name, known in formats.items() if name in trained)
    if evaluated is not None:
        recipes.insert(0, evaluated)
    if not recipes:
        return []
    try:
        plan = plan_generation(study.location)
        judged = plan.judged()
    except SweepError as error:
        return [QueriesView(label=recipe.title, missing=str(error)) for recipe in recipes]
    caution = _find_change(judged, study)
    return [_view_if_there(plan if recipe.is_evaluated else judged, recipe, caution) for recipe in recipes]


def _view_if_there(plan: GenerationPlan, recipe: Recipe, caution: str) -> QueriesView:
    try:
        return view_queries(plan, recipe, caution=caution)
    except SweepError as error:
        return QueriesView(label=recipe.title, missing=str(error))


def _find_change(plan: GenerationPlan, study: Study) -> str:
    """What to say where a study's queries were made anew since it began, and others came of it."""
    try:
        collection = add_generated(plan.collection, plan.recipes, plan.spec, folder=plan.folder)
    except SweepError:
        return ""
    if collection.content_hash == study.record.attributes.get(COLLECTION_HASH):
        return ""
    return "The study did not have these queries: they were made anew since it began."


def _view_generator(plan: GenerationPlan, generator: Generator, label: str) -> GeneratorView:
    facts = identify_generator(generator, plan.spec.model, folder=plan.folder)
    settings = generator.model_dump(exclude={"prompt_text", "example_specs", "model"})
    return GeneratorView(
        label=label,
        model=str(facts["model"]),
        prompt=str(facts["prompt"]),
        settings={name: str(value) for name, value in settings.items()},
    )
