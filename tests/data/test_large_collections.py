from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from invented import write_invented

ROOT = Path(__file__).parents[2]
MEASURED = """
import sys
from pathlib import Path
from peak_memory import peak_gib
from sweep.data import load_collection
from sweep.settings.study_file import DataSpec
before = peak_gib()
collection = load_collection(DataSpec(collection="."), folder=Path(sys.argv[1]))
assert len(collection.documents) == {documents} and len(collection.content_hash) == 64
print((peak_gib() - before) * 2**30 / {documents})
"""


def test_a_document_takes_little_memory_while_a_collection_is_read_and_searched_for_leaks(tmp_path: Path) -> None:
    """A text has 350 characters, but its words as a list of strings take 4 kB: those of few are held at once."""
    documents = 30_000
    write_invented(tmp_path / "corpus", documents=documents, queries=200)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "tests" / "bench", ROOT))),
        "SWEEP_CACHE": str(tmp_path / "cache"),
    }
    command = [sys.executable, "-c", MEASURED.format(documents=documents), str(tmp_path / "corpus")]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    assert float(done.stdout) < 4000
    assert list((tmp_path / "cache" / "leaks").iterdir())  # they were looked for
