"""StudySpec: a study file as frozen values.

A study file is TOML. Every table is strict: an unknown key is an error that names the nearest known one, and a value
of another kind is an error and never converted (TOML reads ``5e-6`` as a number; YAML would read a string).
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from sweep.errors import StudyFileError
from sweep.measures.measures import DEFAULT_METRIC, Measure, find_measure
from sweep.progress import COMPLETE, DEFAULT_GRID, MIN_STEPS, count_steps
from sweep.settings.data_spec import DataSpec
from sweep.settings.dimensions import Params, SpaceSettings, StartSpec
from sweep.settings.ranges import FORMS, RANGE_OR_FIXED, Table, as_tuple, form_of

MAX_EXAMPLES = 100_000_000
"""The order of a trial's examples is planned in memory: at this size it takes 800 MB."""


class PromptsSpec(Table):
    """The texts that are put before queries and before documents; one that is left out is the model's own."""

    query: str | None = Field(default=None, description="Before each query.")
    document: str | None = Field(default=None, description="Before each document.")


class ModelSpec(Table):
    """The base model that every trial starts from."""

    base: str = Field(min_length=1, description="package:NAME, a hub id, or a folder (relative to the study file).")
    keep_layers: Annotated[tuple[int, ...], BeforeValidator(as_tuple)] | None = Field(
        default=None, description="Encoder layers to keep, from 0, ascending; all of them where it is left out."
    )
    max_seq_length: int | None = Field(default=None, ge=4, description="Tokens read of a text; left out: the model's.")
    prompts: PromptsSpec = Field(default=PromptsSpec(), description="Prompts in place of the model's own.")
    pad_token: str | None = Field(
        default=None, min_length=1, description="Token that fills short texts up; left out: the tokenizer's own."
    )

    @field_validator("keep_layers")
    @classmethod
    def _layers_ascend(cls, layers: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if layers is not None and (not layers or min(layers) < 0 or list(layers) != sorted(set(layers))):
            raise ValueError(f"must name layers from 0 in ascending order, got {list(layers)}")
        return layers


class EvaluationSpec(Table):
    """The texts that a model is evaluated on, the metric, and the grid."""

    metric: str = Field(default=DEFAULT_METRIC, description="The study's objective: ndcg@K, recall@K, mrr@K or map@K.")
    generated_queries: str | None = Field(
        default=None,
        min_length=1,
        description="Data format whose generated queries dev and test are made of, where nothing is judged.",
    )
    max_documents: int | None = Field(default=None, ge=1, description="Documents to rank: judged first, then a sample.")
    sample: Literal["random", "hard"] = Field(
        default="random", description="The documents beside the judged ones: random, or the hardest first."
    )
    max_queries: int | None = Field(default=None, ge=1, description="Queries to evaluate on, a seeded sample.")
    grid: Annotated[tuple[float, ...], BeforeValidator(as_tuple)] = Field(
        default=tuple(point / COMPLETE for point in DEFAULT_GRID),
        description="Progress in (0, 1] at which trials are evaluated, ascending, to the thousandth.",
    )

    @model_validator(mode="after")
    def _sample_has_a_size(self) -> Self:
        if self.sample == "hard" and self.max_documents is None:
            raise ValueError('sample = "hard" needs max_documents: without it all documents are ranked')
        return self

    @field_validator("metric")
    @classmethod
    def _metric_is_known(cls, metric: str) -> str:
        return find_measure(metric).key

    @field_validator("grid")
    @classmethod
    def _grid_ascends(cls, grid: tuple[float, ...]) -> tuple[float, ...]:
        points = [round(point * COMPLETE) for point in grid]
        if not points or points != sorted(set(points)) or points[0] < 1 or points[-1] != COMPLETE:
            raise ValueError(f"must ascend within (0, 1] by at least 0.001 and end with 1.0, got {list(grid)}")
        return grid

    @property
    def measure(self) -> Measure:
        """The measure that the metric names."""
        return find_measure(self.metric, on_generated=self.generated_queries is not None)

    @property
    def grid_points(self) -> tuple[int, ...]:
        """The grid in thousandths, without the untrained point."""
        return tuple(round(point * COMPLETE) for point in self.grid)


class BudgetSpec(Table):
    """The budget of the study."""

    trials: int = Field(ge=1, description="Trials in total, over all runs and resumes.")
    examples: int = Field(ge=1, le=MAX_EXAMPLES, description="Training pairs that a full trial sees.")
    total_examples: int | None = Field(
        default=None, ge=1, description="Training pairs of all trials; what the search leaves goes into longer ones."
    )
    doublings: int | None = Field(
        default=None,
        ge=0,
        description="Times that the best are trained twice as long; left out: as total_examples allows.",
    )
    wall_clock_h: float | None = Field(default=None, gt=0.0, description="Hours of all runs; then it ends early.")
    device_hours: float | None = Field(
        default=None, gt=0.0, description="Hours that trials may hold devices, summed over devices; then it ends early."
    )
    target: float | None = Field(default=None, gt=0.0, le=1.0, description="Value on dev that ends the study early.")

    @property
    def doublings_at_most(self) -> int:
        """Times that the best configurations are trained for twice as long, at most, as far as the totals allow."""
        fitting = int(math.log2(MAX_EXAMPLES / self.examples))
        wished = self.doublings if self.doublings is not None else fitting * (self.total_examples is not None)
        return min(wished, fitting)

    @model_validator(mode="after")
    def _lengths_have_a_total(self) -> Self:
        if self.total_examples is not None and self.total_examples < self.examples:
            raise ValueError(
                f"total_examples = {self.total_examples} is below examples = {self.examples}, those of one trial:"
                " raise it"
            )
        if self.doublings and not (self.total_examples or self.wall_clock_h or self.device_hours):
            raise ValueError(
                f"doublings = {self.doublings} needs a total that longer trials fit into: set total_examples,"
                " wall_clock_h or device_hours"
            )
        return self


class SpaceSpec(SpaceSettings):
    """The search space: the dimensions, and the settings that concern several of them."""

    learning_rate_rule: Literal["none", "sqrt", "linear"] = Field(
        default="none", description="Scaling of a trial's rate with its batch; the range is then that at batch 64."
    )
    max_learning_rate: float | None = Field(default=None, gt=0.0, description="Largest effective rate of a point.")
    start: Annotated[tuple[StartSpec, ...], BeforeValidator(as_tuple)] = Field(
        default=(), description="Points that are tried first, once each."
    )


class DropOffSpec(Table):
    """The rule that stops a run that falls from its own peak."""

    margin: float = Field(default=0.01, ge=0.0, lt=1.0, description="Fall, or gain, that does not matter.")
    alpha: float = Field(default=0.05, gt=0.0, lt=0.5, description="Chance of stopping a run that has not fallen.")
    grace: float = Field(default=0.02, ge=0.0, le=1.0, description="Progress after the warm-up without a stop.")
    forecast: bool = Field(default=True, description="Whether a run without a way back stops before a proven fall.")


class StoppingSpec(Table):
    """The rules that end a trial before its budget of examples."""

    drop_off: Annotated[
        Annotated[DropOffSpec, Tag("range")] | Annotated[Literal[False], Tag("fixed")], RANGE_OR_FIXED
    ] = Field(default=DropOffSpec(), description="The drop-off rule, or false to let no run's fall stop it.")

    @model_validator(mode="before")
    @classmethod
    def _is_not_of_another_version(cls, table: Any) -> Any:
        if isinstance(table, dict) and "outclassed" in table:
            raise ValueError("outclassed is no rule any more: take it out, and add a table [rungs], which spends less")
        return table


class RungsSpec(Table):
    """The rungs at which every trial pauses, and the share of the trials that goes on from each."""

    at: Annotated[tuple[float, ...], BeforeValidator(as_tuple)] = Field(
        default=(0.1, 0.6), description="Shares of the learning rate spent, in (0, 1), ascending."
    )
    keep: Annotated[tuple[float, ...], BeforeValidator(as_tuple)] = Field(
        default=(0.2, 0.5), description="Share of each rung's trials that goes on, in (0, 1], and three at least."
    )
    undecided: float = Field(
        default=0.25, ge=0.0, le=1.0, description="Share of those, at most, that goes on since it cannot be told apart."
    )

    @model_validator(mode="after")
    def _rungs_ascend(self) -> Self:
        if not self.at or list(self.at) != sorted(set(self.at)) or not 0.0 < self.at[0] <= self.at[-1] < 1.0:
            raise ValueError(f"at must ascend within (0, 1), got {list(self.at)}")
        if len(self.keep) != len(self.at):
            raise ValueError(f"keep must have a share for each of the {len(self.at)} rungs, got {list(self.keep)}")
        if not all(0.0 < share <= 1.0 for share in self.keep):
            raise ValueError(f"keep must lie in (0, 1], so that somebody is kept, got {list(self.keep)}")
        return self


class ConfirmSpec(Table):
    """The confirmation: the best configurations, trained again with other seeds."""

    top: int = Field(default=2, ge=1, le=100, description="Configurations that are confirmed.")
    seeds: int = Field(
        default=3, ge=2, le=100, description="Trainings of each, the first one of the search among them."
    )


class StorageSpec(Table):
    """The study's database."""

    url: str | None = Field(default=None, min_length=1, description="postgresql:// without a password; else SQLite.")
    folder: str | None = Field(
        default=None,
        pattern=r"^[^\x00]+$",
        description="Folder of the SQLite file, on a local disk (relative to the study file); else the study's own.",
    )

    @model_validator(mode="after")
    def _is_one_database(self) -> Self:
        if self.url is not None and self.folder is not None:
            raise ValueError("url names a server and folder a disk for the one database of the study: leave one out")
        return self


WORKER = "{worker}"
"""The place of the worker's own command line in a command of the study file."""

_CPU_WORKERS = re.compile(r"cpu:[1-9]\d{0,3}")


class WorkersSpec(Table):
    """The devices and processes of the trials."""

    devices: Annotated[
        Annotated[str, Tag("fixed")]
        | Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(as_tuple), Tag("choices")],
        Discriminator(lambda value: "choices" if form_of(value) == "choices" else "fixed"),
    ] = Field(
        default="auto", description='"auto", "cpu", "cpu:N" for N trials at once on the CPU, or CUDA device numbers.'
    )
    trials_per_device: int = Field(default=1, ge=1, le=64, description="Trials at once on a device, memory permitting.")
    gpus_per_trial: int = Field(
        default=1, ge=1, le=64, description="GPUs that share a trial's batches; on a CPU, processes."
    )
    command: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(as_tuple)] | None = Field(
        default=None, description='Command that starts a worker elsewhere, such as ["srun", "--gpus=1", "{worker}"].'
    )
    slots: int | None = Field(
        default=None, ge=1, le=10_000, description="Workers at once of the command; else those of its one machine."
    )
    cluster: str | None = Field(
        default=None, min_length=1, description='"ray", the address of a Ray cluster, or left out for this machine.'
    )
    authentication: Literal["token", "none"] = Field(
        default="token", description='Whether the cluster asks for a token; "none" if anybody may run code on it.'
    )
    micro_batch: int | None = Field(
        default=None, ge=1, description="Pairs at once in the model; else as memory allows."
    )
    stall_s: float = Field(
        default=1800.0,
        gt=0.0,
        description="Seconds of silence before a trial's process is killed: longer than any batch takes.",
    )

    @field_validator("devices")
    @classmethod
    def _names_devices_once(cls, devices: str | tuple[int, ...]) -> str | tuple[int, ...]:
        if isinstance(devices, str):
            if devices not in ("auto", "cpu") and not _CPU_WORKERS.fullmatch(devices):
                raise ValueError(f'must be "auto", "cpu", "cpu:2" or a list of device numbers, got {devices!r}')
        elif not devices or len(set(devices)) < len(devices):
            raise ValueError(f"must name each device once, got {list(devices)}")
        return devices

    @model_validator(mode="after")
    def _command_has_its_slots(self) -> Self:
        if self.command is not None and not self.command:
            raise ValueError('command must name a program, such as ["srun", "--gpus=1", "--ntasks=1", "{worker}"]')
        if self.cluster is not None and (self.command is not None or isinstance(self.devices, tuple)):
            raise ValueError(
                'cluster brings its own nodes and devices: leave command out, and devices "auto" or "cpu:N"'
            )
        if self.gpus_per_trial > 1 and self.trials_per_device > 1:
            raise ValueError(
                "trials have parts of a GPU or several GPUs: leave trials_per_device or gpus_per_trial out"
            )
        if self.slots is None:
            return self
        if self.command is None:
            raise ValueError("slots counts the workers of a command: set command, or devices in its place")
        if self.trials_per_device > 1 or self.devices not in ("auto", "cpu"):
            raise ValueError(
                'slots counts the trials at once: leave trials_per_device out, and devices "auto" or "cpu"'
            )
        return self

    @property
    def are_elsewhere(self) -> bool:
        """Whether trials run where only shared folders are seen."""
        return self.command is not None or self.cluster is not None

    @property
    def cpu_workers(self) -> int | None:
        """Trials at once on the CPU where it is chosen, else None."""
        if not isinstance(self.devices, str) or self.devices == "auto":
            return None
        return int(self.devices.partition(":")[2] or 1) * self.trials_per_device


class CheckpointsSpec(Table):
    """The models and checkpoints that are kept on disk."""

    keep: int = Field(default=1, ge=1, description="Peak models that are kept: those of the best trials.")
    max_gib: float | None = Field(default=None, gt=0.0, description="Limit of models and checkpoints; else none.")
    precision: Literal["float32", "base"] = Field(
        default="float32", description="Precision of the peak models: that of training, or the base model's own."
    )
    every_s: float = Field(default=600.0, gt=0.0, description="Longest time between two checkpoints.")


class LossSpec(Table):
    """The loss that every trial is trained with."""

    name: str = Field(default="multiple-negatives-ranking", description="Its name.")
    options: dict[str, Any] = Field(default={}, description="Its options, but for those that [space] sets.")


class StudySpec(Table):
    """A study file."""

    name: str = Field(pattern=r"^[\w][\w .-]*$", max_length=100, description="The study's name.")
    seed: int = Field(default=0, ge=0, description="Seed of the search, and of training where space.seed is left out.")
    model: ModelSpec = Field(description="The base model.")
    data: DataSpec = Field(description="The collection.")
    evaluation: EvaluationSpec = Field(default=EvaluationSpec(), description="The evaluation.")
    budget: BudgetSpec = Field(description="The budget.")
    space: SpaceSpec = Field(default=SpaceSpec(), description="The search space.")
    formats: dict[str, dict[str, Any]] = Field(default={}, description="Options of data formats, a table each.")
    loss: LossSpec = Field(default=LossSpec(), description="The loss.")
    stopping: StoppingSpec = Field(default=StoppingSpec(), description="The stopping.")
    rungs: Annotated[Annotated[RungsSpec, Tag("range")] | Annotated[Literal[False], Tag("fixed")], RANGE_OR_FIXED] = (
        Field(default=False, description="The rungs, or false to train every trial to its end.")
    )
    confirm: Annotated[
        Annotated[ConfirmSpec, Tag("range")] | Annotated[Literal[False], Tag("fixed")], RANGE_OR_FIXED
    ] = Field(default=False, description="The confirmation, or false to confirm only by `sweep confirm`.")
    workers: WorkersSpec = Field(default=WorkersSpec(), description="The workers.")
    checkpoints: CheckpointsSpec = Field(default=CheckpointsSpec(), description="The checkpoints.")
    storage: StorageSpec = Field(default=StorageSpec(), description="The database.")

    def seed_of(self, params: Params) -> int:
        """Seed of a trial's training: its own, or the study's."""
        return self.seed if params.seed is None else params.seed

    @model_validator(mode="after")
    def _has_enough_steps(self) -> Self:
        largest = self.space.batch_sizes[-1]
        steps = count_steps(self.budget.examples, largest)
        if steps < MIN_STEPS:
            raise ValueError(
                f"budget.examples = {self.budget.examples} gives batch {largest} only {steps} optimizer steps, fewer"
                f" than {MIN_STEPS}: raise it to {MIN_STEPS * largest}, or lower space.batch_size"
            )
        return self

    @model_validator(mode="after")
    def _rungs_have_looks(self) -> Self:
        if self.rungs:
            first, last = self.evaluation.grid[0], [0.0, *self.evaluation.grid][-2]
            for share in self.rungs.at:
                if not first <= share <= last:
                    raise ValueError(
                        f"rungs.at = {share:g} lies {'before the first' if share < first else 'after the last'} look"
                        f" at a trial that is not its end: evaluation.grid has {first:g} to {last:g}"
                    )
        return self


def load_study(file: Path | str) -> StudySpec:
    """The study that a TOML file describes.

    Raises:
        StudyFileError: If the file is missing, is not TOML, or holds an unknown key or an invalid value. The message
            is one line with file, key and value.
    """
    path = Path(file)
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise StudyFileError(path, "there is no such file") from None
    except IsADirectoryError:
        raise StudyFileError(path, "is a folder; name the study file in it") from None
    except OSError as error:
        raise StudyFileError(path, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise StudyFileError(path, "is not text (UTF-8), so it is no study file") from error
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # the second, and a plain ValueError, for what no person writes
        raise StudyFileError(path, f"is not valid TOML: {error}") from error
    try:
        return StudySpec.model_validate(tables)
    except ValidationError as error:
        raise study_file_error(path, error) from error


def study_file_error(
    file: Path, error: ValidationError, *, table: type[BaseModel] = StudySpec, under: str = ""
) -> StudyFileError:
    """An error of pydantic's about a table, as one line; the table stands under a key in the file.

    An unknown key comes before all else, since it is often why another is missing.
    """
    problems = error.errors(include_url=False)
    first = next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])
    is_unknown = first["type"] == "extra_forbidden"
    *tables, last = first["loc"] or ("",)
    location = [part for part in tables if part not in FORMS]
    if is_unknown or last not in (*FORMS, ""):  # an unknown key is the user's word, which may be that of a kind
        location.append(last)
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in (under, *location)).strip(".")
    if is_unknown:
        return StudyFileError(file, f"unknown key{_nearest_key(table, location)}", key=key)
    if first["type"] == "missing":
        return StudyFileError(file, "is missing", key=key)
    problem = first["msg"].removeprefix("Value error, ")
    problem = problem[:1].lower() + problem[1:]
    shown = first.get("input")
    if first["type"] != "value_error" and isinstance(shown, (str, int, float, list)):
        problem = f"{problem}, got {shown!r}"
    return StudyFileError(file, problem, key=key or None)


def _nearest_key(table: type[BaseModel], location: list[Any]) -> str:
    """`; did you mean ...?`, or the keys that the table knows."""
    known = _known_keys(table, [part for part in location[:-1] if isinstance(part, str)])
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known here: {', '.join(known)}"


def _known_keys(table: type[BaseModel], path: list[str]) -> list[str]:
    """The keys of the table at ``path``; where a setting has several kinds, those of its table."""
    for part in path:
        annotation: Any = table.model_fields[part].annotation
        table = next(kind for kind in _leaves(annotation) if isinstance(kind, type) and issubclass(kind, BaseModel))
    return list(table.model_fields)


def _leaves(annotation: Any) -> list[Any]:
    """The types that an annotation is made of."""
    parts = get_args(annotation)
    return [leaf for part in parts for leaf in _leaves(part)] if parts else [annotation]
