"""Arrow tables of NumPy arrays, written to files and mapped from them: what is mapped is not read until it is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Tables = Mapping[str, pa.Table]
"""Arrow tables by name."""

Array = NDArray[Any]

_SMALL = (np.uint8, np.uint16, np.int32)


@dataclass(frozen=True)
class Ragged:
    """N rows of numbers of different lengths: row i is ``values[offsets[i]:offsets[i + 1]]``."""

    offsets: NDArray[np.int64]
    values: Array

    @classmethod
    def of(cls, rows: Sequence[Array], dtype: Any) -> Ragged:
        """The rows one behind the other."""
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        return cls(
            np.concatenate([[0], np.cumsum(lengths)]), np.concatenate([*rows, np.empty(0, dtype=dtype)], dtype=dtype)
        )

    @classmethod
    def join(cls, parts: Sequence[Ragged]) -> Ragged:
        """The rows of several, at least one, one behind the other."""
        lengths = np.concatenate([np.zeros(1, dtype=np.int64), *(part.lengths for part in parts)])
        return cls(np.cumsum(lengths), np.concatenate([part.values for part in parts]))

    def is_equal(self, other: Ragged) -> bool:
        """Whether all rows are equal."""
        return np.array_equal(self.lengths, other.lengths) and np.array_equal(self.values, other.values)

    def shrink(self) -> Ragged:
        """The same rows of numbers, none below 0, in the smallest of some types."""
        largest = self.values.max(initial=0)
        dtype = next((each for each in _SMALL if largest <= np.iinfo(each).max), self.values.dtype)
        return Ragged(self.offsets, self.values.astype(dtype))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> Array:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(N,) length of each row."""
        return np.diff(self.offsets)

    def take(self, rows: NDArray[np.int64]) -> Ragged:
        """Some of the rows, in any order."""
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        places = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        return Ragged(offsets, self.values[places])

    def skip(self, counts: NDArray[np.int64]) -> Ragged:
        """The same without the first (N,) counts of numbers of each row."""
        lengths = self.lengths - counts
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        places = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1] + counts - offsets[:-1], lengths)
        return Ragged(offsets, self.values[places])

    def to_arrow(self) -> pa.Array:
        """The same as an array of large lists, without a copy."""
        return pa.LargeListArray.from_arrays(pa.array(self.offsets), pa.array(self.values))

    @classmethod
    def from_arrow(cls, column: pa.ChunkedArray) -> Ragged:
        """The same of a column of a table, without a copy where it is of one piece."""
        lists = _one_piece(column)
        return cls(lists.offsets.to_numpy(), lists.values.to_numpy())


def to_numpy(column: pa.ChunkedArray) -> Array:
    """A column of numbers as NumPy sees it, without a copy where it is of one piece."""
    found: Array = _one_piece(column).to_numpy()
    return found


def write_tables(folder: Path, tables: Tables) -> None:
    """Writes each table as a file of its name."""
    for name, table in tables.items():
        with pa.OSFile(str(folder / f"{name}.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table.combine_chunks())


def map_tables(folder: Path) -> dict[str, pa.Table]:
    """The tables of a folder, mapped.

    Raises:
        OSError: If a file cannot be mapped, or is none of Arrow's.
    """
    return {
        path.stem: pa.ipc.open_stream(pa.memory_map(str(path))).read_all() for path in sorted(folder.glob("*.arrow"))
    }


def _one_piece(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
