"""rehearse_study: the way of a run in small, as ``sweep check`` goes it, and the speed of this machine on it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from sweep.data import choose_format, plan_judged
from sweep.data.study_collection import load_study_collection
from sweep.messages import Channel, Rehearsal, RehearsalTask, Sign
from sweep.run_folder import RunFolder
from sweep.settings.dimensions import Params
from sweep.training.compilation import Compiled
from sweep.training.description import describe_model
from sweep.training.devices import choose_micro_batch
from sweep.training.fit import StepAction, TrainingStats, fit
from sweep.training.models import Model, check_saved, load_model, prepare_base_model, save_model
from sweep.training.token_counts import count_tokens
from sweep.trial import UNTRAINED, evaluate_saved, make_evaluator, plan_fit, publish_compiled

REHEARSED_STEPS = 2
TIMED_STEPS = 4
"""Optimizer steps that are timed, the first of which only warms the device up."""

LONG_LOOK_S = 60.0
"""Seconds of the untrained model's evaluation from which trials' own are taken to last as long, and are not timed."""


@dataclass
class _Silence:
    """A sign of life that measures the longest time between two of them, except for calls announced as long."""

    longest_s: float = 0.0
    _last: float = math.inf

    def __call__(self, *, long_call: bool = False) -> None:
        now = time.perf_counter()
        self.longest_s = max(self.longest_s, now - self._last)
        self._last = math.inf if long_call else now  # infinite: what follows is no silence


def rehearse_study(task: RehearsalTask, channel: Channel) -> Rehearsal:  # noqa: ARG001 - every job has a channel
    """Goes the way of a run in its run folder: the base model is saved, loaded, evaluated and trained in each format.

    What it gets through does not fail in a trial for a reason that could have been known.

    ``silence_s`` is the longest time between two signs of life: what the longest batch took.

    Raises:
        SweepError: If it does not get through.
    """
    folder = RunFolder(task.run_folder)
    base = prepare_base_model(task.spec.model, task.folder, into=folder.base_model)
    collection = load_study_collection(task.spec, folder=task.folder, content=task.content)
    silence = _Silence()
    compiled = publish_compiled(task, collection, base.model, identity="rehearsed", sign=silence)
    saved = {UNTRAINED: folder.base_model}
    evaluation = evaluate_saved(task, lambda _: compiled, "dev", saved, shuffled=True, sign=silence)[UNTRAINED]
    judged = plan_judged(task.spec, collection, "dev")
    model = load_model(folder.base_model, device=task.device)
    document = task.spec.data.document
    tokens = count_tokens(
        model,
        documents=[collection.documents[name].embedded(document) for name in judged.document_ids],
        queries=[collection.queries[name] for name in judged.query_ids],
    )
    for params in task.points:
        _time_steps(task, params, compiled, model=model, steps=REHEARSED_STEPS, sign=silence)
    save_model(model, folder.peak_model(0, 0))
    check_saved(model, folder.peak_model(0, 0))
    seconds = look_s = None
    if task.timed:
        seconds = _time_steps(task, task.timed, compiled, model=model, steps=TIMED_STEPS, sign=silence)
        evaluator = make_evaluator(task, compiled, "dev", params=task.timed, sign=silence)
        look_s = evaluation.seconds if evaluation.seconds > LONG_LOOK_S else evaluator.evaluate(model).seconds
    return Rehearsal(
        model=describe_model(base, folder.base_model),
        evaluation=evaluation,
        texts_per_s=(len(judged.document_ids) + len(judged.query_ids)) / evaluation.seconds,
        pairs_per_s=task.timed.batch_size / seconds if task.timed and seconds else None,
        silence_s=silence.longest_s,
        look_s=look_s,
        tokens=tokens,
    )


def _time_steps(
    task: RehearsalTask, params: Params, compiled: Compiled, *, model: Model, steps: int, sign: Sign
) -> float:
    """Makes some optimizer steps, and returns the seconds that one took after the first.

    A batch is cut where the largest of the study would be, so that the loss is the one of its trials.
    """
    largest = task.spec.space.batch_sizes[-1]
    columns = len(choose_format(task.spec, params.data_format).roles)
    chosen = choose_micro_batch(model, largest, wanted=task.spec.workers.micro_batch, columns=columns)
    half = max(1, params.batch_size // 2)
    folder, ended = RunFolder(task.run_folder), list[float]()

    def note_time(step: int, take_stats: Callable[[], TrainingStats]) -> StepAction:  # noqa: ARG001 - OnStep's names
        ended.append(time.perf_counter())
        return StepAction.GO_ON

    plan = plan_fit(
        task,
        params,
        compiled,
        steps=steps,
        micro_batch=min(chosen, half) if chosen < largest else params.batch_size,
        work_folder=folder.path / "work",
        checkpoint=lambda step: folder.checkpoint(0, step),
        sign=sign,
    )
    fit(model, plan, on_step=note_time)
    return (ended[-1] - ended[0]) / (len(ended) - 1)
