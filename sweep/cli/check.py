"""The command ``check``: the work that a run of a study file would do, and its cost."""

from __future__ import annotations

import math
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from sweep.cli.check_baselines import describe_baselines
from sweep.cli.check_cost import describe_cost
from sweep.cli.check_data import WIDTH, describe_data, describe_tokens, indent
from sweep.cli.check_settings import describe_settings, describe_trials
from sweep.coordinator.run import JOBS, find_fitting_slots
from sweep.data.formats.format import TASKS
from sweep.launch import Launcher, Slot, make_launcher
from sweep.launch.jobs import JobFailedError, run_job
from sweep.launch.launcher import describe_slots
from sweep.launch.node import describe_node
from sweep.measures.geometry import COLLAPSED
from sweep.messages import Job, ModelDescription, Rehearsal, RehearsalTask
from sweep.plan import StudyPlan, plan_study
from sweep.settings.space import LOG2_BATCH_SIZE
from sweep.settings.study_file import StudySpec
from sweep.signals import StopSignal
from sweep.storage.location import StudyLocation

STALL_MARGIN = 3.0
"""Times that a batch should fit into `workers.stall_s`: beside other trials, or with longer texts, it takes longer."""


def check(location: StudyLocation, *, measure: bool) -> None:
    """Prints what a run would do, goes its way in small, and estimates its cost by this machine's measured speed.

    Raises:
        SweepError: If the study file, its collection, its model or its devices cannot be used.
    """
    with StopSignal() as stop:
        _check(plan_study(location), stop, measure=measure)


def check_plan(plan: StudyPlan, *, measure: bool) -> None:
    """The same for a study that was planned; see `check`."""
    with StopSignal() as stop:
        _check(plan, stop, measure=measure)


def _check(plan: StudyPlan, stop: StopSignal, *, measure: bool) -> None:
    plan.location.database.check()
    head = describe_settings(plan.spec, revision=plan.revision)
    print(*head, *describe_data(plan), *describe_trials(plan.spec), sep="\n", flush=True)
    launcher = make_launcher(plan.spec.workers, (JOBS,), shared=plan.shared_folder)
    try:
        slots = find_fitting_slots(plan, launcher, stop=stop)
        print(*_describe_devices(slots, launcher), sep="\n", flush=True)
        rehearsal = _rehearse(plan, launcher, slots[0], stop, timed=measure)
        print(*_describe_model(plan, rehearsal.model), *describe_tokens(rehearsal.tokens), sep="\n")
        print(*_describe_untrained(plan, rehearsal), *describe_baselines(plan, rehearsal), sep="\n")
        print(*describe_cost(plan, rehearsal, len(slots)), *_describe_silence(plan, rehearsal), sep="\n")
    finally:
        launcher.close()
    print(f"{plan.location.file} is valid.")


def _describe_devices(slots: Sequence[Slot], launcher: Launcher) -> Iterator[str]:
    """The slots; then other machines, those that are left out among them, and the versions that all must have."""
    yield "Devices:  " + "; ".join(describe_slots(slots))
    nodes = launcher.describe_nodes()
    yield from (line for node in nodes for line in indent(node))
    if nodes:
        yield from indent(f"versions of each: {', '.join(map(' '.join, describe_node().versions.items()))}")


def _describe_model(plan: StudyPlan, model: ModelDescription) -> Iterator[str]:
    yield from textwrap.wrap("Model:    " + " > ".join(model.modules), WIDTH, subsequent_indent=" " * 10)
    kept = "float32" if plan.spec.checkpoints.precision == "float32" else model.precision
    stored = f"{model.parameters / 1e6:.1f} M parameters, stored in {model.precision}"
    yield f"          {stored}, trained in float32, kept in {kept}"
    full, used = model.dimensions
    cut = f", cut to {used}" if used != full else ""
    limit = "any number of" if model.tokens is None else f"{model.tokens:,}"
    positions = "no limit of positions" if model.positions is None else f"{model.positions:,} positions"
    yield f"          similarity {model.similarity}; {full} dimensions{cut}"
    yield f"          reads {limit} tokens of a text ({positions})"
    shown = [f"{task} {model.prompts[task]!r}" if task in model.prompts else f"{task} none" for task in TASKS]
    unused = f"; not used: {', '.join(model.unused_prompts)}" if model.unused_prompts else ""
    yield from indent(f"prompts: {', '.join(shown) if model.prompts else 'none'}{unused}")
    for change in model.changes:
        yield from indent(f"change: {change}")


def _describe_untrained(plan: StudyPlan, rehearsal: Rehearsal) -> Iterator[str]:
    evaluation, measure = rehearsal.evaluation, plan.spec.evaluation.measure
    steps = f"{len(plan.space.spec.data_format)} x 2 steps of training, saved and loaded again"
    yield (
        f"Tried:    untrained {measure.label} {evaluation.value:.4f} on dev"
        f" ({evaluation.seconds:.1f} s an evaluation); {steps}"
    )
    if evaluation.has_collapsed:
        yield f"          its {COLLAPSED}"


def _describe_silence(plan: StudyPlan, rehearsal: Rehearsal) -> Iterator[str]:
    """A warning where a batch takes so long here that a trial at work could be taken for a stuck one."""
    stall_s, silence_s = plan.spec.workers.stall_s, rehearsal.silence_s
    if silence_s * STALL_MARGIN > stall_s:
        yield (
            f"Warning:  workers.stall_s = {stall_s:g}: a batch takes {silence_s:.1f} s here, and a trial that"
            f" says nothing for {stall_s:g} s is killed; set it to {math.ceil(2 * STALL_MARGIN * silence_s)} or more"
        )


def _rehearse(plan: StudyPlan, launcher: Launcher, slot: Slot, stop: StopSignal, *, timed: bool) -> Rehearsal:
    """The way of a run in small, in a folder that is gone afterwards: beside the study where workers are elsewhere."""
    space = plan.spec.space
    values = [plan.space.lowest() | {"data_format": name} for name in space.data_format]
    largest = values[-1] | {LOG2_BATCH_SIZE: space.batch_sizes[-1].bit_length() - 1}
    place = plan.shared_folder if plan.spec.workers.are_elsewhere else None
    with tempfile.TemporaryDirectory(prefix=".sweep-check-", dir=place) as folder:
        task = RehearsalTask(
            spec=_sample_randomly(plan.spec),
            folder=plan.folder,
            run_folder=Path(folder),
            device=slot.device,
            content=plan.collection.content_hash,
            points=tuple(map(plan.space.params, values)),
            timed=plan.space.params(largest) if timed else None,
        )
        log = Path(folder) / "rehearsal.log"
        job = Job(
            name="rehearse",
            body="sweep.rehearsal:rehearse_study",
            task=task,
            log=log,
            environment=slot.environment,
            slot=slot.name,
        )
        try:
            rehearsal: Rehearsal = run_job(launcher, job, stop=stop)
        except JobFailedError as error:
            raise JobFailedError(error.cause, actionable=True, log=log) from error  # the log goes with the folder
    return rehearsal


def _sample_randomly(spec: StudySpec) -> StudySpec:
    """The same study with random documents in the place of hard ones: to find these, a whole corpus is encoded."""
    return spec.model_copy(update={"evaluation": spec.evaluation.model_copy(update={"sample": "random"})})
