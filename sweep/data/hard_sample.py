"""Hard documents: those that rankings hold highest, for an evaluation that ranks a part of a corpus."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import pyarrow as pa

from sweep.data.collection import EVALUATED, Split
from sweep.data.order import IntArray
from sweep.settings.study_file import StudySpec

_VERSION = 1
_TABLE = "hard"


@dataclass(frozen=True)
class HardDocuments:
    """The documents of a study's sample that were chosen for being hard.

    Attributes:
        identity: Identity of what they follow from.
        by_split: Their ids by the split whose queries they are hard for, hardest first.
    """

    identity: str
    by_split: Mapping[Split, Sequence[str]]

    def to_tables(self) -> dict[str, pa.Table]:
        """The same as Arrow tables by name."""
        return {
            f"{_TABLE}-{split}": pa.table({"id": list(names)}).replace_schema_metadata({"identity": self.identity})
            for split, names in self.by_split.items()
        }

    @classmethod
    def from_tables(cls, tables: Mapping[str, pa.Table]) -> HardDocuments | None:
        """The hard documents among tables; None where there are none."""
        found = {split: tables[f"{_TABLE}-{split}"] for split in EVALUATED if f"{_TABLE}-{split}" in tables}
        if not found:
            return None
        identity = found["dev"].schema.metadata[b"identity"].decode()
        return cls(identity, {split: table["id"].to_pylist() for split, table in found.items()})


def identify_hard(spec: StudySpec, *, base: str, content: str) -> str:
    """SHA-256 (hex) of all that the hard documents of a study follow from.

    Args:
        spec: The study.
        base: Identity of the base model as the study uses it.
        content: Hash of the collection's content.
    """
    evaluation = spec.evaluation
    sample = [evaluation.max_documents, evaluation.max_queries, spec.data.split.seed]
    facts = {"version": _VERSION, "base": base, "content": content, "document": spec.data.document, "sample": sample}
    return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def order_by_hardness(rankings: Sequence[IntArray]) -> IntArray:
    """The columns of some rankings, hardest first: by the best rank of each, then by the rankings that hold it.

    Args:
        rankings: For each query, or query and way of ranking, columns in rank order.
    """
    columns = np.concatenate([*rankings, np.empty(0, dtype=np.int64)])
    ranks = np.concatenate([*(np.arange(len(ranking)) for ranking in rankings), np.empty(0, dtype=np.int64)])
    distinct, places, counts = np.unique(columns, return_inverse=True, return_counts=True)
    best = np.full(len(distinct), len(columns))
    np.minimum.at(best, places, ranks)
    ordered: IntArray = distinct[np.lexsort((distinct, -counts, best))]
    return ordered
