from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

WriteToy = Callable[..., Path]

CORPUS = [
    {"_id": "d1", "title": "Tea", "text": "Green tea is steeped below boiling."},
    {"_id": "d2", "title": "", "text": "Bread rises with yeast."},
    {"_id": "d3", "title": "Rice", "text": "Rinse rice before it is cooked."},
    {"_id": "d4", "text": "Salt draws water out of vegetables."},
]
QUERIES = [
    {"_id": "q1", "text": "how hot for green tea"},
    {"_id": "q2", "text": "what makes bread rise"},
    {"_id": "q3", "text": "wash rice"},
    {"_id": "q4", "text": "why salt aubergines"},
]
JUDGED = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq2\td2\t1\nq3\td3\t1\nq4\td4\t1\n"


def lines(records: Iterable[Mapping[str, object]]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


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
