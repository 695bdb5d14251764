"""Similarity: the function that compares a model's embeddings, as its config names it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import SimilarityFunction, truncate_embeddings

from sweep.measures.geometry import ROUNDING

_Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Similarity:
    """One of the library's similarities: cosine, dot, euclidean or manhattan; the higher, the more alike."""

    name: str

    @property
    def needs_unit_length(self) -> bool:
        """Whether it compares embeddings of length 1, as which they are to be given to `scores` and `compare`."""
        return self.name == "cosine"

    def scores(self, queries: _Float32, documents: _Float32) -> _Float32:
        """(Q, H) and (D, H) embeddings -> (Q, D) similarities.

        Scores of a query that differ by no more than rounding are made equal. They would rank its documents by
        how these were put into batches.
        """
        if self.name in ("cosine", "dot"):
            found: _Float32 = queries @ documents.T
        else:
            compare = SimilarityFunction.to_similarity_fn(self.name)
            found = compare(torch.from_numpy(queries), torch.from_numpy(documents)).numpy()
        is_flat = np.ptp(found, axis=1) <= ROUNDING * self._sizes(queries, documents)
        found[is_flat] = found[is_flat, :1]
        return found

    def compare(self, first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
        """(S, B, H) and (S, C, H) embeddings -> (S, B, C) similarities."""
        if self.name in ("cosine", "dot"):
            products: NDArray[np.float64] = first @ second.transpose(0, 2, 1)
            return products
        norm = 1.0 if self.name == "manhattan" else 2.0
        distances: NDArray[np.float64] = torch.cdist(torch.from_numpy(first), torch.from_numpy(second), p=norm).numpy()
        return -distances

    def _sizes(self, queries: _Float32, documents: _Float32) -> _Float32:
        """(Q,) the largest size that a query's scores can have with embeddings of these lengths."""
        norm = 1 if self.name == "manhattan" else 2
        lengths = np.linalg.norm(queries, ord=norm, axis=1)
        longest = np.linalg.norm(documents, ord=norm, axis=1).max(initial=0.0)
        sizes: _Float32 = lengths * longest if self.name in ("cosine", "dot") else lengths + longest
        return sizes


def similarity_in_training(model: SentenceTransformer) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The model's similarity for a loss, on the dimensions that it is used with."""
    compare = SimilarityFunction.to_similarity_fn(model.similarity_fn_name)
    dimensions = model.truncate_dim
    if dimensions is None:
        return compare

    def compare_cut(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return compare(truncate_embeddings(first, dimensions), truncate_embeddings(second, dimensions))

    return compare_cut
