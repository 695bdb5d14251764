"""A trial that several processes train together, against the same trial of one."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rank_training import largest, train_alone

from sweep.launch import Died, LocalLauncher, Message
from sweep.messages import Assignment, Done, Failure, Job, Report, StudyTask, Verdict
from sweep.progress import plan_evaluations
from sweep.run_folder import RunFolder
from sweep.settings.dimensions import Params
from sweep.settings.study_file import load_study
from sweep.testing import write_tiny_model, write_toy_study
from sweep.training.checkpoint import newest_complete, verify
from sweep.training.models import load_model
from sweep.trial import prepare_study
from tests.compiled import encode_texts

STEPS = 10
Run = Callable[..., list[Message]]


class SilentChannel:
    """A channel of whoever prepares a study."""

    def report(self, report: Report) -> Verdict:  # noqa: ARG002
        return Verdict()

    def sign(self, *, long_call: bool = False) -> None:
        pass

    def is_pausing(self) -> bool:
        return False


@pytest.fixture(scope="module")
def launcher() -> Iterator[LocalLauncher]:
    made = LocalLauncher(("sweep.trial",))
    yield made
    made.close()


@pytest.fixture
def run(launcher: LocalLauncher, tmp_path: Path) -> Run:
    """Runs a job to its end; its messages."""

    def go(
        body: str, task: Any, *, processes: int, answer: Callable[[Report], Verdict] = lambda _: Verdict()
    ) -> list[Message]:
        environment = {"CUDA_VISIBLE_DEVICES": ""}
        log = tmp_path / "job.log"
        job = Job(name="job", body=body, task=task, log=log, environment=environment, processes=processes)
        launcher.start(job)
        heard: list[Message] = []
        deadline = time.monotonic() + 300
        while not heard or not isinstance(heard[-1].payload, (Done, Failure, Died)):
            assert time.monotonic() < deadline, heard
            for message in launcher.wait(0.2):
                heard.append(message)
                if isinstance(message.payload, Report):
                    launcher.answer("job", answer(message.payload))
        return heard

    return go


# ---- one step of training


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without dropout."""
    folder = tmp_path_factory.mktemp("still") / "model"
    write_tiny_model(folder, dropout=0.0)
    return folder


def test_gradient_loss_and_weights_are_those_of_one_process(
    run: Run, still: Path, columns: Any, tmp_path: Path
) -> None:
    task = {"base": str(still), "columns": columns, "folder": str(tmp_path)}
    last = run("rank_training:train_both", task, processes=2)[-1].payload
    assert isinstance(last, Done), last
    alone = train_alone(task)
    for kind in ("whole", "cut"):
        found = last.result[kind]
        assert found["losses"] == pytest.approx(alone["losses"], rel=1e-5), kind
        for name, weight in alone["weights"].items():
            np.testing.assert_allclose(found["weights"][name], weight, atol=1e-5, err_msg=f"{kind} {name}")
        assert len(alone["gradients"]) > 20
        limit = 1e-5 * largest(alone["gradients"])
        for name, gradient in alone["gradients"].items():
            np.testing.assert_allclose(found["gradients"][name], gradient, rtol=1e-5, atol=limit, err_msg=name)
    embeddings = encode_texts(load_model(still, device="cpu"), columns["positive"])
    assert last.result["embeddings"].tobytes() == embeddings.tobytes()


def test_a_rank_that_ends_first_leaves_what_the_other_is_saving(
    run: Run, still: Path, columns: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    task = {"base": str(still), "columns": columns, "folder": str(folder)}
    assert run("rank_training:save_slowly", task, processes=2)[-1].payload == Done("step-00000001")


# ---- whole trials


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, still: Path) -> StudyTask:
    """A prepared study of a model without dropout."""
    folder = tmp_path_factory.mktemp("study")
    shutil.copytree(still, folder / "model")
    file = write_toy_study(folder, evaluation={"max_queries": 30, "max_documents": 60})
    task = StudyTask(spec=load_study(file), folder=folder, run_folder=RunFolder.beside(file).path)
    prepare_study(task, SilentChannel())
    return task


@pytest.fixture
def assignment(study: StudyTask, tmp_path: Path) -> Assignment:
    shutil.copytree(study.run_folder, tmp_path / "run")
    return Assignment(
        spec=study.spec,
        folder=study.folder,
        run_folder=tmp_path / "run",
        trial=0,
        params=Params(
            learning_rate=2e-3,
            effective_learning_rate=2e-3,
            warmup_ratio=0.1,
            batch_size=8,
            data_format="query-document",
            scale=20.0,
            scheduler="linear",
        ),
        steps=STEPS,
        evaluations=plan_evaluations([200, 400, 700, 1000], STEPS),
        threads=1,
    )


def curve_of(heard: list[Message]) -> dict[int, tuple[float, float | None]]:
    """The value and the training loss of each report by its step."""
    reports = [message.payload for message in heard if isinstance(message.payload, Report)]
    assert isinstance(heard[-1].payload, Done), heard[-1]
    return {report.step: (report.evaluation.value, report.loss) for report in reports}


def test_a_trial_is_the_same_run_by_one_process_and_by_two_and_goes_on_with_either(
    run: Run, assignment: Assignment, tmp_path: Path
) -> None:
    alone = curve_of(run("sweep.trial:run_trial", assignment, processes=1))
    shutil.rmtree(tmp_path / "run" / "checkpoints")

    def pause_at(step: int) -> Callable[[Report], Verdict]:
        return lambda report: Verdict(pause=report.step == step)

    first = run("sweep.trial:run_trial", assignment, processes=2, answer=pause_at(4))
    checkpoint = newest_complete(RunFolder(assignment.run_folder).checkpoint_folders(0))
    assert checkpoint is not None
    assert checkpoint.name == "step-00000004"
    verify(checkpoint)
    assert sorted(path.name for path in checkpoint.iterdir()) == [
        "course.json", "manifest.json", "model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json",
    ]  # fmt: skip
    peak = max(value for value, _ in curve_of(first).values())
    goes_on = replace(assignment, peak=peak, measured=400)
    second = run("sweep.trial:run_trial", goes_on, processes=1, answer=pause_at(7))
    third = run("sweep.trial:run_trial", replace(goes_on, measured=700), processes=2)
    together = {**curve_of(first), **curve_of(second), **curve_of(third)}
    assert together.keys() == alone.keys() == {2, 4, 7, 10}
    for step, (value, loss) in alone.items():
        assert together[step][0] == pytest.approx(value, abs=2e-3), step
        assert together[step][1] == pytest.approx(loss, rel=1e-4), step
    last = third[-1].payload
    assert isinstance(last, Done)
    assert (last.result.status, last.result.resumed_from) == ("finished", 7)


def test_a_trial_needs_as_many_gpus_as_ranks(run: Run, assignment: Assignment) -> None:
    failure = run("sweep.trial:run_trial", replace(assignment, device="cuda"), processes=2)[-1].payload
    assert isinstance(failure, Failure)
    assert failure.actionable
    assert failure.cause.startswith("workers.gpus_per_trial: 2 are asked for, and the trial's processes see 0")
