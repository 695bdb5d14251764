from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from memory import find_memory
from postgres import PostgresServer

from sweep.testing import write_tiny_model, write_toy_collection

optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture(autouse=True)
def _skip_without_cuda(request: pytest.FixtureRequest) -> None:
    """Skips what needs a CUDA device where torch sees none, with the reason."""
    if request.node.get_closest_marker("gpu") is None:
        return
    import torch

    if not torch.cuda.is_available():
        pytest.skip(f"torch {torch.__version__} sees no CUDA device")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Sentence Transformers model of random weights, two layers, dropout 0.1; to be read, not written."""
    folder = tmp_path_factory.mktemp("tiny") / "model"
    write_tiny_model(folder, dropout=0.1)
    return folder


@pytest.fixture(scope="session")
def toy_collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BEIR folder of 240 documents without splits; to be read, not written."""
    folder = tmp_path_factory.mktemp("toy") / "collection"
    write_toy_collection(folder)
    return folder


MOST_WORKERS = 8
"""Beyond these, the longest tests decide how long the whole takes."""


def pytest_configure() -> None:
    """Sets the memory, signals and threads of the tests' processes.

    The folders of tests lie in memory where there is room: on a disk, most of a test is waiting for it. A study's
    database is flushed at every commit. What is killed in a test loses nothing that it wrote, flushed or not; only a
    power cut would tell the two apart, and tests have none.
    """
    memory = find_memory()
    if memory is not None:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))
    # nohup has the one ignored and a shell's background the other, which processes of the tests would inherit
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported
        # processes that share the cores have a thread each: threads that wait for each other take many times as long
        os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """The processes that share the tests, for ``-n auto``; 0 has them run in this process.

    Each imports every test, which takes longer than most parts of the suite: so a part that is named, by a path, ``-k``
    or ``-m``, runs here. Tests wait for processes of their own, so there is one more than there are cores.
    """
    is_complete = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    if not is_complete or config.option.keyword or config.option.markexpr:
        return 0
    return min(MOST_WORKERS, 1 + (os.cpu_count() or 1))


def pytest_collection_finish() -> None:
    """Has the garbage collector leave alone what was imported: every training begins with a full collection."""
    gc.collect()
    gc.freeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--renew-golden", action="store_true", help="write the golden tables anew, to be reviewed by diff")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server, for tests that share it: each with a study's name or a database of its own."""
    server = PostgresServer()
    yield server
    server.close()
