"""Small files of the kinds that collections come in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def write_lines(file: Path, records: Iterable[Mapping[str, Any]]) -> Path:
    """Writes JSON lines, compressed with zstd where the file's name says so."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(record) + "\n" for record in records).encode()
    file.write_bytes(pa.compress(text, codec="zstd", asbytes=True) if file.suffix == ".zst" else text)
    return file


def write_parquet(file: Path, records: Iterable[Mapping[str, Any]]) -> Path:
    """Writes a Parquet file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(records)), file)
    return file


def write_text(file: Path, text: str) -> Path:
    """Writes a text as it is, without converting its line breaks."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8", newline="")
    return file
