from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from small_beir import CORPUS, JUDGED, QUERIES, lines

WriteToy = Callable[..., Path]


@pytest.fixture
def write_toy(tmp_path: Path) -> WriteToy:
    """Writes a BEIR folder of four documents and queries; any of its files can be given another content."""

    def write(**qrels: str) -> Path:
        folder = tmp_path / "toy 'collection'"
        (folder / "qrels").mkdir(parents=True)
        (folder / "corpus.jsonl").write_text(lines(CORPUS), encoding="utf-8")
        (folder / "queries.jsonl").write_text(lines(QUERIES), encoding="utf-8")
        for name, text in (qrels or {"test": JUDGED}).items():
            (folder / "qrels" / f"{name}.tsv").write_text(text, encoding="utf-8")
        return folder

    return write
