from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sweep.errors import StudyFileError
from sweep.progress import DEFAULT_GRID
from sweep.settings.ranges import FloatRange, PowerRange
from sweep.settings.study_file import DropOffSpec, StudySpec, load_study

SMALL = """
name = "small"
[model]
base = "./model"
[data]
collection = "beir:collection"
[budget]
trials = 2
examples = 1280
"""


def load(folder: Path, text: str) -> StudySpec:
    file = folder / "study.toml"
    file.write_text(text, encoding="utf-8")
    return load_study(file)


def test_what_a_study_file_leaves_out_has_a_default(tmp_path: Path) -> None:
    spec = load(tmp_path, SMALL)
    assert (spec.name, spec.seed, spec.space.seed) == ("small", 0, None)
    assert spec.evaluation.grid_points == DEFAULT_GRID
    assert spec.space.learning_rate == FloatRange(low=5e-6, high=6e-4, log=True)
    assert spec.space.batch_size == PowerRange(low=16, high=64)
    assert spec.space.batch_sizes == (16, 32, 64)
    assert spec.space.data_format == ("title-content", "query-document")
    assert spec.stopping.drop_off == DropOffSpec(margin=0.01, alpha=0.05, grace=0.02)
    assert spec.workers.devices == "auto"


@pytest.mark.parametrize(
    ("tables", "key", "value"),
    [
        ("[space]\nlearning_rate = 5e-5", "learning_rate", 5e-5),
        ("[space]\nlearning_rate = { low = 5e-5, high = 1e-4 }", "learning_rate", FloatRange(low=5e-5, high=1e-4)),
        ("[space]\nscale = 20", "scale", 20.0),
        ("[space]\nbatch_size = 32", "batch_size", 32),
        ("[space]\ndata_format = 'title-content'", "data_format", ("title-content",)),
        ("[space]\nscheduler = ['linear', 'cosine']", "scheduler", ("linear", "cosine")),
        ("[space]\nseed = 4", "seed", (4,)),
        ("[space]\nseed = [0, 13]", "seed", (0, 13)),
    ],
)
def test_a_setting_is_a_range_choices_or_one_value(tmp_path: Path, tables: str, key: str, value: Any) -> None:
    assert getattr(load(tmp_path, SMALL + tables).space, key) == value


@pytest.mark.parametrize(
    ("tables", "table", "key", "value"),
    [
        ("[stopping]\ndrop_off = false", "stopping", "drop_off", False),
        ("[stopping]\ndrop_off = { margin = 0.02 }", "stopping", "drop_off", DropOffSpec(margin=0.02)),
        ("[workers]\ndevices = [1, 0]", "workers", "devices", (1, 0)),
        ("[workers]\ndevices = 'cpu'", "workers", "devices", "cpu"),
        ("[evaluation]\ngrid = [0.001, 0.5, 1]", "evaluation", "grid_points", (1, 500, 1000)),
    ],
)
def test_the_other_tables_are_read_as_they_are_written(
    tmp_path: Path, tables: str, table: str, key: str, value: Any
) -> None:
    assert getattr(getattr(load(tmp_path, SMALL + tables), table), key) == value


@pytest.mark.parametrize(
    ("tables", "key"),
    [
        ("[space]\nbatch_size = { low = 64, high = 16 }", "space.batch_size"),
        ("[space]\nbatch_size = 16.0", "space.batch_size"),
        ("[space]\nlearning_rate = true", "space.learning_rate"),
        ("[space]\nlearning_rate = { low = 0.0, high = 1e-4, log = true }", "space.learning_rate"),
        ("[space]\nlearning_rate = { low = 0.0, high = 1e-4 }", "space.learning_rate"),
        ("[space]\nlearning_rate = { low = 1e-5 }", "space.learning_rate.high"),
        ("[space]\nwarmup_ratio = 1.0", "space.warmup_ratio"),
        ("[space]\nscale = -1.0", "space.scale"),
        ("[space]\ndata_format = []", "space.data_format"),
        ("[space]\nseed = []", "space.seed"),
        ("[space]\nseed = [0, 0]", "space.seed"),
        ("[space]\nseed = -1", "space.seed"),
        ("[space]\nseed = true", "space.seed[0]"),
        ("[space]\nseed = '0'", "space.seed"),
        ("[space]\nseed = { low = 0, high = 3 }", "space.seed"),
        ("[[space.start]]\nseed = -1", "space.start[0].seed"),
        ("[space]\nmax_learning_rate = 0.0", "space.max_learning_rate"),
        ("[space]\nlearning_rate_rule = 'cubic'", "space.learning_rate_rule"),
        ("[[space.start]]\nbatch_size = '16'", "space.start[0].batch_size"),
        ("[evaluation]\nmetric = 'mrr'", "evaluation.metric"),
        ("[evaluation]\nmetric = 'precision@10'", "evaluation.metric"),
        ("[evaluation]\nmetric = 10", "evaluation.metric"),
        ("[evaluation]\ngrid = []", "evaluation.grid"),
        ("[evaluation]\ngrid = [0.5, 0.4, 1.0]", "evaluation.grid"),
        ("[evaluation]\ngrid = [0.5, 0.5004, 1.0]", "evaluation.grid"),
        ("[evaluation]\ngrid = [0.0, 1.0]", "evaluation.grid"),
        ("[stopping]\ndrop_off = true", "stopping.drop_off"),
        ("[stopping]\ndrop_off = { alpha = 0.5 }", "stopping.drop_off.alpha"),
        ("[stopping]\noutclassed = true", "stopping"),
        ("[workers]\ndevices = 'gpu'", "workers.devices"),
        ("[workers]\ndevices = []", "workers.devices"),
        ("[workers]\ndevices = [-1]", "workers.devices[0]"),
        ("[data.split]\ndev = 0.5\ntest = 0.5", "data.split"),
    ],
)
def test_a_value_that_does_not_stand_is_refused_under_its_key(tmp_path: Path, tables: str, key: str) -> None:
    text = SMALL + tables if "data.split" not in tables else SMALL.replace("[budget]", f"{tables}\n[budget]")
    with pytest.raises(StudyFileError, match=r"study\.toml: ") as refusal:
        load(tmp_path, text)
    assert refusal.value.key == key
    assert "\n" not in str(refusal.value)


def test_more_examples_than_an_order_can_be_planned_for_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyFileError, match=r"budget\.examples: .*100000000"):
        load(tmp_path, SMALL.replace("1280", "1000000000000000000"))


@pytest.mark.parametrize("name", ["", " leading", "a/b", "../up", "a\\nb", "x" * 101])
def test_a_name_that_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StudyFileError, match=r"study\.toml: name: "):
        load(tmp_path, SMALL.replace('"small"', f'"{name}"'))


@pytest.mark.parametrize("layers", ["[]", "[1, 0]", "[0, 0]", "[-1]"])
def test_layers_that_do_not_ascend_are_refused(tmp_path: Path, layers: str) -> None:
    with pytest.raises(StudyFileError, match=r"model\.keep_layers: must name layers from 0 in ascending order, got"):
        load(tmp_path, SMALL.replace("[data]", f"keep_layers = {layers}\n[data]"))


@pytest.mark.parametrize(("examples", "holds"), [(1279, True), (1247, False)])
def test_the_largest_batch_needs_twenty_steps(tmp_path: Path, examples: int, holds: bool) -> None:
    text = SMALL.replace("1280", str(examples))
    if holds:
        assert load(tmp_path, text).budget.examples == examples
        return
    with pytest.raises(StudyFileError, match="gives batch 64 only 19 optimizer steps, fewer than 20: raise it to 1280"):
        load(tmp_path, text)


def test_a_study_survives_json_as_it_is(tmp_path: Path) -> None:
    spec = load(tmp_path, SMALL + "[space]\nseed = [0, 2]\n[workers]\ndevices = [0]\n[[space.start]]\nseed = 2\n")
    assert StudySpec.model_validate(spec.model_dump(mode="json")) == spec


def test_a_study_is_frozen(tmp_path: Path) -> None:
    spec = load(tmp_path, SMALL)
    with pytest.raises(ValidationError, match="Instance is frozen"):
        spec.budget.trials = 3  # type: ignore[misc]


@pytest.mark.parametrize("name", ["a study.toml", "it's.toml", "100%.toml", "é.toml"])
def test_a_study_file_may_have_an_odd_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(SMALL)
    assert load_study(tmp_path / name).name == "small"
    assert load_study(str(tmp_path / name)).name == "small"
