"""Jobs on a Ray cluster of two nodes: nodes that die, come and go, and clusters that are refused."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from clusters import add_node, make_ray_launcher, start_cluster
from processes import DEADLINE_S, wait_until
from scripted import Recorder, check_finished, most_at_once

from sweep.coordinator.placement import HEADROOM, fits
from sweep.coordinator.run import run_study
from sweep.errors import DeviceError, StudyFileError
from sweep.launch import Died, RayLauncher, Slot
from sweep.launch.memory import find_devices, read_machine_gib, read_usage
from sweep.launch.node import Node, describe_node
from sweep.launch.ray_memory import find_used
from sweep.launch.ray_nodes import RayNodes
from sweep.launch.shared import Mark
from sweep.messages import Done, Job, Started
from sweep.plan import plan_study
from sweep.settings.study_file import WorkersSpec, load_study
from sweep.signals import StopSignal
from sweep.storage.location import locate_study
from sweep.testing import write_toy_study

# ---- which nodes there are, without a cluster


class Cluster:
    """What Ray says of a cluster, and what its nodes say of themselves."""

    def __init__(self) -> None:
        self.nodes: dict[str, dict[str, float]] = {}
        self.broken: set[str] = set()
        self.answers = threading.Event()
        self.answers.set()
        self.devices_gib: tuple[float, ...] = ()

    def list_nodes(self) -> list[dict[str, object]]:
        return [
            {"NodeID": name, "NodeManagerHostname": name[0], "Alive": True, "Resources": resources}
            for name, resources in self.nodes.items()
        ]

    def ask(self, node: str, mark: Mark | None, *, timeout_s: float) -> tuple[Node, str | None]:  # noqa: ARG002
        self.answers.wait(60)
        if node in self.broken:
            raise TimeoutError
        return replace(describe_node(), devices_gib=self.devices_gib), mark.answer() if mark else None


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def look(cluster: Cluster, *, shared: Path | None = None) -> RayNodes:
    nodes = RayNodes(cluster.list_nodes, cluster.ask, shared=shared)
    nodes.look()
    return nodes


def names(nodes: RayNodes, **workers: object) -> list[str]:
    return [known.slot.name for known in nodes.slots(WorkersSpec.model_validate({"cluster": "ray"} | workers))]


def test_every_gpu_of_a_cluster_is_a_slot_and_a_node_without_one_has_none(cluster: Cluster) -> None:
    cluster.nodes = {"a": {"CPU": 8, "GPU": 2, "accelerator_type:H100": 1}, "b": {"CPU": 4}, "c": {"CPU": 4, "GPU": 1}}
    nodes = look(cluster)
    assert names(nodes) == ["a/gpu:0", "a/gpu:1", "c/gpu:0"]
    assert names(nodes, trials_per_device=2)[:4] == ["a/gpu:0/1", "a/gpu:0/2", "a/gpu:1/1", "a/gpu:1/2"]
    shared = nodes.slots(WorkersSpec(cluster="ray", trials_per_device=2))[0]
    assert (shared.gpus, shared.slot.share, shared.slot.label, shared.slot.threads) == (0.5, 0.5, "H100", 2)


def test_a_trial_of_several_gpus_has_those_of_one_node(cluster: Cluster) -> None:
    cluster.nodes = {"a": {"CPU": 8, "GPU": 5, "accelerator_type:H100": 1}, "b": {"CPU": 4, "GPU": 1}}
    nodes = look(cluster)
    assert names(nodes, gpus_per_trial=2) == ["a/gpu:0+1", "a/gpu:2+3"]
    known = nodes.slots(WorkersSpec(cluster="ray", gpus_per_trial=2))[0]
    assert (known.gpus, known.slot.processes, known.slot.label, known.slot.threads) == (2, 2, "2 x H100", 1)
    assert (nodes.most_gpus, names(nodes, gpus_per_trial=6)) == (5, [])


def test_nodes_are_described_with_what_they_have_and_why_they_are_left_out(cluster: Cluster) -> None:
    cluster.nodes = {
        "a": {"CPU": 8, "GPU": 2, "memory": 64 * 2**30, "accelerator_type:H100": 1},
        "b": {"CPU": 4, "memory": 2**30},
        "c": {"CPU": 4},
    }
    cluster.broken = {"c"}
    assert look(cluster).describe() == [
        "a: 2 GPUs (H100), 8 cores, 64 GiB",
        "b: 0 GPUs, 4 cores, 1 GiB",
        "c is left out: it does not answer (TimeoutError)",
    ]


def test_a_cluster_without_a_gpu_has_the_cpus_of_its_nodes(cluster: Cluster) -> None:
    cluster.nodes = {"a": {"CPU": 8}, "b": {"CPU": 4}}
    nodes = look(cluster)
    assert names(nodes) == ["a/cpu", "b/cpu"]
    assert names(nodes, devices="cpu:3") == ["a/cpu/1", "a/cpu/2", "b/cpu"]
    assert [known.cpus for known in nodes.slots(WorkersSpec(cluster="ray", devices="cpu:3"))] == [4, 4, 4]
    cluster.nodes["c"] = {"CPU": 2, "GPU": 1}
    nodes.look()
    assert names(nodes, devices="cpu") == ["a/cpu"]


def test_what_comes_and_goes_is_said_once_and_a_host_with_two_nodes_has_two_names(cluster: Cluster) -> None:
    cluster.nodes = {"a1": {"CPU": 8}}
    nodes = look(cluster)
    nodes.take_changes()
    cluster.nodes = {"a2": {"CPU": 8}}
    nodes.look()
    assert nodes.take_changes() == ["a is gone, and with it its slots", "a#2 has come, and its slots are used"]
    assert nodes.take_changes() == []
    assert names(nodes) == ["a#2/cpu"]


def test_a_node_that_will_not_do_is_left_out_by_name_and_reason(cluster: Cluster, tmp_path: Path) -> None:
    cluster.nodes, cluster.broken = {"a": {"CPU": 8}, "b": {"CPU": 8}}, {"b"}
    nodes = look(cluster, shared=tmp_path)
    assert names(nodes) == ["a/cpu"]
    assert nodes.refused == ["b is left out: it does not answer (TimeoutError)"]
    assert list(tmp_path.iterdir()) == []


def test_the_cluster_is_not_silent_while_the_coordinator_itself_is_stopped(cluster: Cluster) -> None:
    nodes = look(cluster)
    now = time.monotonic()
    assert nodes.measure_silence(now + 4.0) >= 4.0
    assert nodes.measure_silence(now + 4000.0) < 11.0  # of an hour in which nobody could look, five seconds count
    nodes.look()
    assert nodes.measure_silence(time.monotonic()) < 1.0


def test_a_node_that_is_slow_to_answer_does_not_make_the_cluster_seem_silent(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweep.launch.ray_nodes.FOLLOW_S", 0.05)
    cluster.nodes = {"a": {"CPU": 8}}
    nodes = RayNodes(cluster.list_nodes, cluster.ask, shared=None)
    nodes.follow()
    cluster.answers.clear()
    cluster.nodes["b"] = {"CPU": 8}
    time.sleep(1.0)
    assert nodes.measure_silence(time.monotonic()) < 0.9
    assert names(nodes) == ["a/cpu"]
    cluster.answers.set()
    assert wait_until(lambda: names(nodes) == ["a/cpu", "b/cpu"], within_s=5)
    nodes.close()


def test_a_node_that_was_left_out_is_asked_again_and_said_once(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.nodes, cluster.broken = {"a": {"CPU": 8}}, {"a"}
    nodes = look(cluster)
    monkeypatch.setattr("sweep.launch.ray_nodes.ASK_AGAIN_S", 0.0)
    cluster.broken.clear()
    nodes.look()
    assert nodes.refused  # it is not yet time
    cluster.broken, cluster.nodes = {"b"}, {"b": {"CPU": 8}}
    for _ in range(3):
        nodes.look()
    cluster.broken.clear()
    nodes.look()
    left_out = ["a is left out: it does not answer (TimeoutError)", "b is left out: it does not answer (TimeoutError)"]
    assert nodes.take_changes() == [*left_out, "b has come, and its slots are used"]
    assert (nodes.refused, names(nodes)) == ([], ["b/cpu"])


@pytest.mark.parametrize("workers", ['command = ["env"]', "devices = [0]"])
def test_a_table_of_workers_that_contradicts_its_cluster_is_refused(tmp_path: Path, workers: str) -> None:
    file = write_toy_study(tmp_path, script={})
    file.write_text(file.read_text().replace('devices = "cpu"', f'cluster = "ray"\n{workers}'))
    with pytest.raises(StudyFileError, match="workers: cluster brings its own nodes and devices"):
        load_study(file)


# ---- clusters that are refused


def test_a_cluster_without_a_token_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    launcher = RayLauncher("192.0.2.1:6379")
    with pytest.raises(
        DeviceError, match=r"\Aworkers\.cluster: 192\.0\.2\.1:6379: without authentication anybody .*RAY_AUTH_TOKEN"
    ):
        launcher.find_slots(WorkersSpec(), stop=StopSignal())


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("127.0.0.1:1", "no Ray cluster answers there"),
        ("ray://head:10001/x", "is no address"),
        ("head", "is no address"),
    ],
)
def test_an_address_without_a_cluster_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, address: str, problem: str
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with pytest.raises(DeviceError, match=rf"\Aworkers\.cluster: .*{problem}"):
        RayLauncher(address).find_slots(WorkersSpec(), stop=StopSignal())


def test_where_ray_is_not_installed_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DeviceError, match=r"Ray is not installed: install it here and on every node"):
        RayLauncher("192.0.2.1:6379").find_slots(WorkersSpec(), stop=StopSignal())


# ---- memory in use on nodes


def test_a_node_says_how_much_memory_each_of_its_slots_has(cluster: Cluster) -> None:
    cluster.nodes = {"a": {"CPU": 8, "GPU": 2}, "b": {"CPU": 4}}
    cluster.devices_gib = (80.0, 40.0)
    nodes = look(cluster)
    workers = WorkersSpec(cluster="ray", trials_per_device=2)
    assert {known.slot.memory_gib for known in nodes.slots(workers)} == {40.0}
    on_cpu = nodes.slots(WorkersSpec(cluster="ray", devices="cpu"))
    assert {known.slot.memory_gib for known in on_cpu} == {read_machine_gib()}


@pytest.mark.parametrize(
    ("own", "held", "used_gib"),
    [
        ({"b"}, {"a", "b"}, 2.0),
        ({"b", "c"}, {"b", "c"}, 3.0),
        (set(), {"a", "c"}, 2.0),  # it will be one of those that nobody holds
        (set(), set(), 3.0),
        (set(), {"a", "b", "c"}, None),
        ({"d"}, {"d"}, None),
    ],
)
def test_the_memory_in_use_under_a_slot_is_that_of_the_devices_that_ray_gave_it(
    own: set[str], held: set[str], used_gib: float | None
) -> None:
    assert find_used({"a": 1.0, "b": 2.0, "c": 3.0}, own, held=held) == used_gib


def test_a_machine_says_how_much_memory_is_in_use() -> None:
    usage = read_usage()
    assert 0 < usage.machine_gib < read_machine_gib()
    assert find_devices(None) == tuple(usage.devices)
    assert find_devices("99,GPU-nowhere") == ()


# ---- a real cluster


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[RayLauncher]:
    made = make_ray_launcher(shared=tmp_path)
    yield made
    made.close()


def listen(launcher: RayLauncher, kind: type, *, within_s: float = DEADLINE_S) -> object:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        for message in launcher.wait(0.2):
            if isinstance(message.payload, kind):
                return message.payload
    raise AssertionError(f"no {kind}")


def start_on(launcher: RayLauncher, slot: Slot, *, attempt: int = 1, body: str = "wait_for_pause") -> None:
    body, log = f"launcher_jobs:{body}", Path(os.devnull)
    launcher.start(Job(name="job", body=body, task=None, log=log, attempt=attempt, slot=slot.name))
    listen(launcher, Started)


def find_actors() -> list[psutil.Process]:
    """The actors of all nodes that run a job; another one measures each node's memory."""
    nodes = [child for child in psutil.Process().children() if child.name() == "raylet"]
    started = [process for node in nodes for process in node.children()]
    return [process for process in started if "SlotActor.run" in " ".join(process.cmdline())]


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_a_node_that_comes_is_used_and_one_that_dies_gives_its_trial_back(launcher: RayLauncher) -> None:
    before = launcher.find_slots(WorkersSpec(cluster="ray"), stop=StopSignal())
    node = add_node()
    found: Callable[[], list[Slot]] = lambda: [slot for slot in launcher.follow()[0] if slot not in before]  # type: ignore[index]  # noqa: E731
    assert wait_until(lambda: bool(found()))
    [slot] = found()
    start_on(launcher, slot)
    assert launcher.node_of("job") == slot.name.partition("/")[0]
    start_cluster().remove_node(node, allow_graceful=False)
    died = listen(launcher, Died)
    assert isinstance(died, Died)
    assert wait_until(lambda: not found())
    followed = launcher.follow()
    assert followed is not None
    assert followed[0] == before


def test_what_idle_actors_hold_of_a_node_is_there_for_the_slots_that_it_has_now(launcher: RayLauncher) -> None:
    workers, stop = WorkersSpec(cluster="ray"), StopSignal()
    for shares, numbers in {2: (0, 1), 4: (2,)}.items():  # two have the node's two CPUs, so a third would wait forever
        slots = launcher.find_slots(workers.model_copy(update={"trials_per_device": shares}), stop=stop)
        for number in numbers:
            start_on(launcher, slots[number], body="echo")
            listen(launcher, Done)
    assert {slot.place for slot in slots[:4]} == {slots[0].place}


def test_an_actor_that_is_killed_is_the_death_of_its_job_alone_and_its_slot_gets_another(
    launcher: RayLauncher,
) -> None:
    slots = launcher.find_slots(WorkersSpec(cluster="ray"), stop=StopSignal())
    start_on(launcher, slots[0])
    [actor] = find_actors()
    theirs = actor.children(recursive=True)
    actor.kill()
    assert listen(launcher, Died) == Died("its actor or its node is gone")
    assert wait_until(lambda: not any(map(is_alive, theirs)), within_s=5)
    start_on(launcher, slots[0], attempt=2)
    assert launcher.jobs == ["job"]


@pytest.fixture
def warm(tmp_path: Path) -> Iterator[RayLauncher]:
    """A launcher whose jobs find their imports done."""
    made = make_ray_launcher(("sweep.testing",), shared=tmp_path)
    yield made
    made.close()


def test_a_trial_that_does_not_fit_beside_another_and_what_else_is_in_use_on_its_node_waits(
    warm: RayLauncher, tmp_path: Path
) -> None:
    slots = warm.find_slots(WorkersSpec(cluster="ray", devices="cpu:4"), stop=StopSignal())
    assert len({slot.place for slot in slots}) == 2
    assert wait_until(lambda: None not in [warm.used_gib(slot) for slot in slots], within_s=30)
    memory_gib, used_gib = slots[0].memory_gib, warm.used_gib(slots[0])
    assert memory_gib is not None
    assert used_gib is not None
    needed_gib = (memory_gib - used_gib / 2) / (2 * HEADROOM)
    assert fits(needed_gib, [needed_gib], memory_gib=memory_gib, used_gib=0.0)  # but not beside what others use
    history = tmp_path / "history.jsonl"
    file = write_toy_study(
        tmp_path,
        script={"step_s": 0.1, "history": str(history), "memory_gib": needed_gib},
        budget={"trials": 8, "examples": 80},
        space={"batch_size": 4},
        stopping={"drop_off": False},
        workers={"devices": "cpu:4", "cluster": start_cluster().address},
    )
    with StopSignal() as stop:
        plan = plan_study(locate_study(file))
        run_study(plan, watcher=Recorder(), stop=stop, jobs="sweep.testing", launcher=warm)
    check_finished(file)
    # on a CPU the first ones begin together, since nobody knows what they take; from then on each node runs one
    assert most_at_once(history, first=len(slots)) <= 2
