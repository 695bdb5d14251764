from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--renew-golden", action="store_true", help="write the golden tables anew, to be reviewed by diff")


@pytest.fixture(scope="session")
def memory() -> Iterator[Path]:
    """A folder in memory where there is one: on a disk, databases take longer to be flushed than to be written."""
    place = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="sweep-", dir=place if os.access(place, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture
def memory_folder(memory: Path) -> Path:
    """A folder of a test's own in memory."""
    return Path(tempfile.mkdtemp(dir=memory))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server, for tests that share it: each with a study's name or a database of its own."""
    server = PostgresServer()
    yield server
    server.close()
