"""The command line: its parser and its commands. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import argparse
import contextlib
import errno
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sweep import __version__
from sweep.cli.output import OutputError, close_output, complain, open_output
from sweep.errors import SweepError

if TYPE_CHECKING:
    from sweep.storage.location import StudyLocation
    from sweep.study import Study

DESCRIPTION = """\
A hyperparameter sweep for retrieval embedding models that detects and stops the drop-off.

STUDY is a study file, such as studies/quickstart.toml. A study's database, logs and best model lie in a folder
beside its file."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: The arguments; by default those of this process.

    Returns:
        Exit status: 0; 2 for an error that a user can act on; 1 for a study that ended because its trials kept failing;
        128 plus the signal's number after a signal.
    """
    open_output()
    try:
        return _run_command(_make_parser().parse_args(arguments))
    finally:
        close_output()


def _run_command(options: argparse.Namespace) -> int:
    try:
        options.command(options)
        sys.stdout.flush()
    except SweepError as error:
        complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        complain("interrupted")
        return 128 + signal.SIGINT
    except OutputError as error:
        if error.errno != errno.EPIPE:  # else the reader of a pipe has seen enough
            complain(f"standard output: cannot be written: {error.strerror}")
            return SweepError.exit_code
    return 0


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sweep", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"sweep {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    add = partial(_add_command, commands.add_parser)

    _add_init(commands.add_parser)
    run = add("run", _run, "run or resume a study until its budget is spent")
    run.add_argument("--trials", type=int, metavar="N", help="budget of trials in place of the file's")
    text = "train trials to their end that are paused at rungs or were not promoted"
    run.add_argument("--finish", type=int, nargs="+", default=(), metavar="N", help=text)
    run.add_argument("--plain", action="store_true", help="one line an event, on a terminal too")
    run.add_argument("--log", choices=("text", "json"), default="text", help="json prints the coordinator's log alone")
    confirm = add("confirm", _confirm, "train the best configurations again with other seeds, and choose by the means")
    confirm.add_argument("--top", type=int, metavar="N", help="configurations (default: the file's, or 2)")
    confirm.add_argument("--seeds", type=int, metavar="N", help="trainings of each, the first included (or 3)")
    confirm.add_argument("--plain", action="store_true", help="one line an event, on a terminal too")
    status = add("status", _status, "show where a study stands, while it runs or after")
    status.add_argument("--json", action="store_true", help="print JSON")
    report = add("report", _report, "write what happened in a study as one HTML file")
    report.add_argument("--output", metavar="FILE", help="where it is written (default: in the study's folder)")
    _add_replay_options(add("replay", _replay, "replay recorded runs under stopping rules, without training"))
    check = add("check", _check, "validate a study file, go the way of a run in small, and show what it would cost")
    check.add_argument("--no-measure", action="store_true", help="do not time training")
    check.add_argument("--offline", action="store_true", help="use no network, and name what is not on this machine")
    data = add(
        "data", _data, "show what a study evaluates on and trains on: counts, lengths, examples, what is left out"
    )
    data.add_argument(
        "--examples", type=int, default=3, metavar="N", help="examples of each kind (default: %(default)s)"
    )
    data.add_argument("--html", metavar="FILE", help="write it as one HTML file instead")
    text = "generate the queries that data formats such as synthetic-query train on, or a study is evaluated on"
    generate = add("generate", _generate, text)
    generate.add_argument("--show", action="store_true", help="write them, and what each gate did, as one HTML file")
    generate.add_argument("--html", metavar="FILE", help="where --show writes it (default: STUDY.queries.html)")
    fork = add("fork", _fork, "make a new study out of the trials of STUDY that still fit")
    fork.add_argument("new", metavar="NEW", help="study file of the new study")
    diagnose = add("diagnose", _diagnose, "find the causes of falling runs, and what would settle the rest")
    diagnose.add_argument("--next", action="store_true", help="print what to do next about every cause as well")
    diagnose.add_argument("--json", action="store_true", help="print JSON")
    dashboard = add("dashboard", _dashboard, "serve optuna-dashboard on a study, on 127.0.0.1, read-only")
    dashboard.add_argument("--port", type=int, default=8080, help="port to listen on (default: %(default)s)")
    dashboard.add_argument("--allow-changes", action="store_true", help="let notes be written (not while it runs)")
    return parser


def _add_replay_options(replay: argparse.ArgumentParser) -> None:
    for name, default in (("margin", 0.01), ("alpha", 0.05), ("grace", 0.02)):
        text = f"stopping.drop_off.{name} (default: {default})"
        replay.add_argument(f"--{name}", type=float, default=default, help=text)
    replay.add_argument("--queries", type=int, metavar="N", help="let the rules see N of the queries alone")
    replay.add_argument("--orders", type=int, default=10, metavar="N", help="orders of the runs (default: %(default)s)")
    replay.add_argument("--figure", metavar="FILE", help="draw the best found against the budget, as HTML")
    replay.add_argument("--json", action="store_true", help="print JSON")


def _add_init(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    text = "draft a study file for a collection of yours, and check it"
    init = add_parser("init", help=text, description=text.capitalize() + ".")
    example = "a FOLDER or FILE, hub:NAME, or whatever else data.collection takes"
    init.add_argument("collection", metavar="COLLECTION", help=example)
    init.add_argument(
        "--model", metavar="BASE", help="base model: a folder, a hub id or package:NAME (default: packaged)"
    )
    init.add_argument("--output", metavar="FILE", help="study file to write (default: studies/NAME.toml, from here)")
    init.add_argument("--force", action="store_true", help="overwrite a file that is there")
    init.add_argument("--no-measure", action="store_true", help="do not time training")
    _add_storage(init)
    init.set_defaults(command=_init)


def _add_storage(parser: argparse.ArgumentParser) -> None:
    address = "postgresql:// address of the database, without a password; or in SWEEP_STORAGE or the study file"
    parser.add_argument("--storage", metavar="URL", help=address)


def _add_command(
    add_parser: Callable[..., argparse.ArgumentParser], name: str, command: object, text: str
) -> argparse.ArgumentParser:
    parser = add_parser(name, help=text, description=text.capitalize() + ".")
    bank = ", or a bank of recorded runs (.npz)" if name == "replay" else ""
    parser.add_argument("study", metavar="STUDY", help=f"study file{bank}")
    _add_storage(parser)
    parser.set_defaults(command=command)
    return parser


def _locate(options: argparse.Namespace, file: str | None = None) -> StudyLocation:
    """The location of a command's study, or of another one that it names."""
    from sweep.storage.location import locate_study

    return locate_study(file or options.study, storage=options.storage)


def _open(options: argparse.Namespace) -> Study:
    from sweep.study import read_study

    return read_study(_locate(options))


def _init(options: argparse.Namespace) -> None:
    from sweep.cli.init_command import init

    init(
        options.collection,
        base=options.model,
        output=options.output,
        force=options.force,
        storage=options.storage,
        measure=not options.no_measure,
    )


def _run(options: argparse.Namespace) -> None:
    from sweep.cli.run_command import run

    run(_locate(options), trials=options.trials, plain=options.plain, log=options.log, finish=options.finish)


def _confirm(options: argparse.Namespace) -> None:
    from sweep.cli.run_command import run

    given = {name: getattr(options, name) for name in ("top", "seeds")}
    confirm = {name: value for name, value in given.items() if value is not None}
    run(_locate(options), trials=None, plain=options.plain, confirm=confirm)


def _status(options: argparse.Namespace) -> None:
    from sweep.cli.status_command import print_status

    with _open(options) as study:
        print_status(study, as_json=options.json)


def _report(options: argparse.Namespace) -> None:
    from sweep.cli.report import write_report
    from sweep.output_files import is_standard_output
    from sweep.report.diagnosis import diagnose

    with _open(options) as study:
        file = write_report(study, diagnose(study), output=options.output)
    if not is_standard_output(file):
        print(f"The report lies at {file}")


def _replay(options: argparse.Namespace) -> None:
    from sweep.cli.replay_command import print_replay
    from sweep.stopping.rules import DropOff

    try:
        rule = DropOff(margin=options.margin, alpha=options.alpha, grace=options.grace)
    except ValueError as error:
        raise SweepError(f"replay: {error}") from error
    is_bank = options.study.endswith(".npz")
    with contextlib.nullcontext(Path(options.study)) if is_bank else _open(options) as source:
        sample = {"queries": options.queries, "orders": options.orders}
        print_replay(source, rule=rule, **sample, figure=options.figure, as_json=options.json)


def _check(options: argparse.Namespace) -> None:
    from sweep.cli.check import check
    from sweep.cli.check_offline import check_offline

    (check_offline if options.offline else check)(_locate(options), measure=not options.no_measure)


def _data(options: argparse.Namespace) -> None:
    from sweep.cli.data_command import print_data, write_data_page
    from sweep.output_files import is_standard_output

    if options.html is None:
        print_data(_locate(options), examples=options.examples)
        return
    file = write_data_page(_locate(options), examples=options.examples, output=options.html)
    if not is_standard_output(file):
        print(f"The page lies at {file}")


def _generate(options: argparse.Namespace) -> None:
    from sweep.cli.generate_command import generate, show_queries
    from sweep.output_files import is_standard_output

    if not options.show and options.html is None:
        generate(_locate(options))
        return
    file = show_queries(_locate(options), output=options.html)
    if not is_standard_output(file):
        print(f"The page lies at {file}")


def _fork(options: argparse.Namespace) -> None:
    from sweep.cli.fork_command import fork

    fork(_locate(options), _locate(options, options.new))


def _diagnose(options: argparse.Namespace) -> None:
    from sweep.cli.diagnose import print_diagnosis

    with _open(options) as study:
        print_diagnosis(study, as_json=options.json, with_next=options.next)


def _dashboard(options: argparse.Namespace) -> None:
    from sweep.dashboard import open_dashboard

    server = open_dashboard(_locate(options), port=options.port, allow_changes=options.allow_changes)
    kind = "notes may be changed" if options.allow_changes else "read-only"
    print(f"optuna-dashboard on http://127.0.0.1:{server.server_port}/ ({kind}); Ctrl-C ends it", flush=True)
    with server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
