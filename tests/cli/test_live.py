"""The live view: the lines that it draws, and a real terminal that is resized under it."""

from __future__ import annotations

import io
import re
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text
from terminal import open_terminal

from sweep.cli.foot import Foot, count_rows, cut
from sweep.cli.watchers import ASCII_BARS, COLUMNS, LiveWatcher, describe_event, list_state
from sweep.coordinator.events import Event, RunningView, SweepView
from sweep.settings.dimensions import Params
from sweep.settings.study_file import SpaceSpec

PARAMS = Params(
    learning_rate=5.6e-4,
    effective_learning_rate=5.6e-4,
    warmup_ratio=0.1,
    batch_size=64,
    data_format="title-content",
    scale=20.0,
    scheduler="linear",
)
NAME = "한국어 عربي"


def make_view(*, running: int = 2, name: str = NAME, value: float = 0.75) -> SweepView:
    trials = [
        RunningView(
            trial=number,
            slot=f"cuda:{number}",
            node=None,
            params=PARAMS,
            progress=300,
            curve=[(0, 0.5), (100, value), (300, 0.6)],
            verdict="0.150 below its peak, noise 0.010",
        )
        for number in range(running)
    ]
    return SweepView(
        paused=0,
        name=name,
        metric="Recall@100",
        finished=3,
        trials=12,
        baseline=0.5,
        best=None,
        running=trials,
        space=SpaceSpec(),
        slots={f"cuda:{number}": "A GPU" for number in range(running)},
        saved_examples=384,
        saved_fraction=0.02,
        seconds_left=90.0,
    )


def test_a_wide_terminal_shows_every_column_and_a_narrow_one_the_most_important() -> None:
    wide, narrow = list_state(make_view(), 200), list_state(make_view(), 40)
    assert wide[1].split() == [*list(COLUMNS)[:2], "Recall@100", *list(COLUMNS)[3:]]
    assert "title-content rate 5.60e-04 warm-up 0.10 batch 64" in wide[2]
    assert narrow[-3].split() == ["trial", "done", "Recall@100"]
    assert narrow[-1].split() == ["1", "30%", "0.6000"]


@pytest.mark.parametrize("width", [20, 39, 60, 80, 119, 250])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    stream = io.StringIO()
    foot = Foot(Console(file=stream, width=width, height=30, force_terminal=True, color_system=None))
    foot.draw(list_state(make_view(), width))
    lines = stream.getvalue().split("\n")
    assert [count_rows(line, width) for line in lines] == [1] * len(lines)


def test_a_low_terminal_shows_what_fits() -> None:
    stream = io.StringIO()
    foot = Foot(Console(file=stream, width=80, height=5, force_terminal=True, color_system=None))
    foot.draw(list_state(make_view(running=8), 80))
    assert len(stream.getvalue().split("\n")) == 4


def test_what_is_the_same_is_not_drawn_again() -> None:
    stream = io.StringIO()
    foot = Foot(Console(file=stream, width=80, height=30, force_terminal=True, color_system=None))
    foot.draw(["a", "b"])
    before = stream.getvalue()
    foot.draw(["a", "b"])
    assert stream.getvalue() == before
    foot.print(Text("above"))
    assert stream.getvalue().removeprefix(before) == "\r\x1b[2K\x1b[1A\x1b[2Kabove\na\nb"


def test_rows_are_counted_as_the_terminal_breaks_lines() -> None:
    assert [count_rows(line, 10) for line in ("", "a" * 10, "a" * 11, "한" * 6)] == [1, 1, 2, 2]
    assert cut("한국어", 4) == "한국"
    assert cut("한국어", 5) == "한국"
    assert cut("abc", 3) == "abc"


def test_a_terminal_without_utf_8_is_written_to_in_its_own_letters() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", errors="replace")
    watcher = LiveWatcher(Console(file=stream, width=100, height=30, force_terminal=True, highlight=False))
    with closing(watcher):
        watcher.show(Event("end", f"complete {NAME}", 1))
        watcher.refresh(make_view())
        stream.flush()
        said = raw.getvalue().decode("ascii")
    assert f"{ASCII_BARS[0]}{ASCII_BARS[-1]}" in said
    assert "complete ??? ????" in said


def test_without_colour_there_is_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = io.StringIO()
    watcher = LiveWatcher(Console(file=stream, width=100, height=30, force_terminal=True, highlight=False))
    with closing(watcher):
        watcher.show(Event("warning", "careful"))
        watcher.refresh(make_view())
    assert "careful" in stream.getvalue()
    assert not re.search(r"\x1b\[[\d;]*3\dm", stream.getvalue())


def test_an_event_holds_no_command_for_the_terminal() -> None:
    assert describe_event(Event("end", "failed: \x1b[2Jboom\r\n\u202ex", 4)) == "trial 4  end: failed:  [2Jboom   x"


def test_after_a_resize_the_last_lines_that_fit_are_there_again() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=40, height=20, force_terminal=True, color_system=None)
    foot = Foot(console)
    for number in range(6):
        foot.print(Text(f"event {number}"))
    foot.draw(["state", "more"])
    before = stream.getvalue()
    console.size = (30, 6)
    foot.draw(["state", "more"])
    assert stream.getvalue().removeprefix(before) == "\x1b[H\x1b[2Jevent 3\nevent 4\nevent 5\nstate\nmore"


def test_a_line_above_that_comes_after_a_resize_finds_the_lines_below_cut_to_the_new_width() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=40, height=20, force_terminal=True, color_system=None)
    foot = Foot(console)
    foot.draw(["a" * 60, "b" * 30])
    before = stream.getvalue()
    console.size = (20, 10)
    foot.print(Text("event"))
    assert stream.getvalue().removeprefix(before) == f"\x1b[H\x1b[2Jevent\n{'a' * 19}\n{'b' * 19}"


SHOW = """
import itertools, os, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_live import EVENTS, LiveWatcher, Event, closing, make_view
with closing(LiveWatcher()) as watcher:
    for turn in itertools.count():
        if turn % 8 == 0 and turn // 8 < EVENTS:
            watcher.show(Event("end", f"event {{turn // 8}}"))
        width = os.get_terminal_size().columns
        watcher.refresh(make_view(name=f"{{turn}}-at-{{width}}", value=0.5 + turn % 500 / 1000))
        time.sleep(0.02)
        if turn >= 8 * EVENTS and Path({end!r}).exists():
            break
print("over")
"""
EVENTS = 5


def states(screen: list[str]) -> list[tuple[int, int]]:
    """The states that a screen shows: the turn of each, and the width that the terminal said it had."""
    return [(int(turn), int(width)) for turn, width in re.findall(r"(\d+)-at-(\d+)", "\n".join(screen))]


@pytest.mark.parametrize("environment", [{"COLUMNS": "80"}, {"NO_COLOR": "1"}, {"PYTHONIOENCODING": "ascii:replace"}])
def test_a_terminal_that_is_resized_meanwhile_shows_one_state_and_at_the_end_events_alone(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    end = tmp_path / "end"
    script = SHOW.format(tests=str(Path(__file__).parent), end=str(end))
    with open_terminal(tmp_path, [sys.executable, "-c", script], width=160, height=24, **environment) as terminal:
        terminal.wait(lambda screen: states(screen) != [])
        for width, height in ((60, 24), (33, 10), (120, 30), (45, 8), (160, 24)):
            terminal.resize(width, height)  # of which tmux tells the program a while later
            first = states(terminal.wait(lambda screen, width=width: any(at == width for _, at in states(screen))))
            later = max(first)[0] + 4
            screen = terminal.wait(lambda screen, later=later: any(turn >= later for turn, _ in states(screen)))
            assert [at for _, at in states(screen)] == [width], screen
        end.touch()
        screen = terminal.wait(lambda screen: "over" in screen)
    shown = [line.split("  ", 1)[-1].strip() for line in screen if line.strip()]
    assert shown == [*(f"event {place}" for place in range(EVENTS)), "over"]


def make_large_view(nodes: list[str | None]) -> SweepView:
    """As many trials as names of machines, one on each slot."""
    view = make_view(running=len(nodes))
    running = [
        replace(trial, node=node, trial=100 + trial.trial) for trial, node in zip(view.running, nodes, strict=True)
    ]
    return replace(view, running=running)


def test_a_screen_of_40_lines_shows_64_trials_by_their_machines() -> None:
    view = make_large_view([f"gpu{slot // 8}" for slot in range(64)])
    lines = list_state(view, 120, height=40)
    assert len(lines) <= 39
    assert [line.partition(":")[0] for line in lines if line.startswith("gpu")] == [f"gpu{node}" for node in range(8)]
    assert all(f"{number} 30% 0.6000" in "\n".join(lines) for number in range(100, 164))
    assert max(map(len, lines)) < 120


def test_machines_of_one_trial_each_share_lines() -> None:
    lines = list_state(make_large_view([f"gpu{node:03}" for node in range(64)]), 120, height=40)
    assert len(lines) <= 39
    assert all(f"gpu{number:03}: {100 + number} 30%" in "\n".join(lines) for number in range(64))


def test_what_no_screen_holds_is_counted() -> None:
    lines = list_state(make_large_view([f"gpu{slot // 8}" for slot in range(1000)]), 80, height=24)
    assert len(lines) == 23
    shown = sum(line.count("30%") for line in lines)
    assert lines[-1] == f"and {1000 - shown} more"


def test_few_trials_keep_a_line_each_with_machine_and_device() -> None:
    lines = list_state(make_large_view(["gpu7", "gpu8"]), 200, height=40)
    assert lines[-1].endswith("gpu8 cuda:1 A GPU")
    ours = replace(make_large_view(["gpu7"]).running[0], slot="gpu7/gpu:0")
    assert list_state(replace(make_view(), running=[ours]), 200, height=40)[-1].endswith("gpu7/gpu:0 gpu7/gpu:0")
