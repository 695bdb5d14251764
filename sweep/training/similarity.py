"""Similarity: the function that compares a model's embeddings, as its config names it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import SimilarityFunction, truncate_embeddings

from sweep.measures.geometry import ROUNDING

MANY_DOCUMENTS = 8192

_Float32 = NDArray[np.float32]
_Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Similarity:
    """One of the library's similarities: cosine, dot, euclidean or manhattan; the higher, the more alike."""

    name: str

    @property
    def needs_unit_length(self) -> bool:
        """Whether it compares embeddings of length 1, as which they are to be given to its methods."""
        return self.name == "cosine"

    def approximate(self, queries: _Float32, documents: _Float32, *, out: _Float32 | None = None) -> _Float32:
        """(Q, H) and (D, H) embeddings -> (Q, D) scores that order the documents of a query as its similarities do.

        They are off by at most `approximation_error`; for cosine and dot they are the similarities themselves.
        """
        if self.name == "manhattan":
            distances: _Float32 = torch.cdist(torch.from_numpy(queries), torch.from_numpy(documents), p=1.0).numpy()
            return -distances
        found = multiply(queries, documents, out=out)
        if self.name == "euclidean":  # of equal order for one query: |q - d|^2 = |q|^2 - 2 (qd - |d|^2 / 2)
            found -= np.einsum("dh,dh->d", documents, documents, dtype=np.float64).astype(np.float32) / 2
        return found

    def approximation_error(self, lengths: _Float64, longest: float, *, dimensions: int) -> _Float64:
        """(Q,) bound of the error of a query's approximate scores, in whatever order their terms are added up.

        Args:
            lengths: (Q,) lengths of the queries, as `lengths` measures them.
            longest: Length of the longest document.
            dimensions: Dimensions of the embeddings, H.
        """
        sizes = lengths * longest + longest**2 / 2 if self.name == "euclidean" else self._sizes(lengths, longest)
        return _bound_error(np.float32, sizes, terms=dimensions)

    def accurate(self, queries: _Float64, documents: _Float64) -> _Float64:
        """(Q, H) and (D, H) embeddings -> (Q, D) similarities in float64, off by at most `accuracy`."""
        if self.name in ("cosine", "dot"):
            return queries @ documents.T
        return -torch.cdist(
            torch.from_numpy(queries),
            torch.from_numpy(documents),
            p=1.0 if self.name == "manhattan" else 2.0,
            compute_mode="donot_use_mm_for_euclid_dist",
        ).numpy()

    def accuracy(self, lengths: _Float64, longest: float, *, dimensions: int) -> _Float64:
        """(Q,) bound of the error of a query's accurate similarities; the arguments are those of the approximate."""
        return _bound_error(np.float64, self._sizes(lengths, longest), terms=dimensions)

    def approximate_rounding(self, lengths: _Float64, longest: float) -> _Float64:
        """(Q,) range of a query's approximate scores above which its similarities differ by more than rounding."""
        sizes = self._sizes(lengths, longest)
        return ROUNDING * sizes * sizes if self.name == "euclidean" else ROUNDING * sizes

    def rounding(self, lengths: _Float64, longest: float) -> _Float64:
        """(Q,) range of a query's similarities that is rounding and nothing else.

        Similarities that differ by no more are to count as equal. They would rank the documents by how these were put
        into batches.
        """
        return ROUNDING * self._sizes(lengths, longest)

    def exact(self, queries: _Float32, documents: _Float32) -> _Float64:
        """(N, H) and (N, H) embeddings -> (N,) similarities of the pairs.

        Each is a function of its two embeddings alone, to the last bit: products are exact in float64, and the terms of
        a pair are added up in one order, whatever pairs stand beside it.
        """
        if self.name in ("cosine", "dot"):
            products: _Float64 = np.add.reduce(np.multiply(queries, documents, dtype=np.float64), axis=1)
            return products
        differences: _Float64 = np.subtract(queries, documents, dtype=np.float64)
        is_manhattan = self.name == "manhattan"
        terms = np.abs(differences, out=differences) if is_manhattan else np.square(differences, out=differences)
        distances: _Float64 = np.add.reduce(terms, axis=1)
        return -distances if is_manhattan else -np.sqrt(distances)

    def lengths(self, embeddings: _Float32) -> _Float64:
        """(N,) lengths of (N, H) embeddings, by the norm that bounds the similarity."""
        lengths: _Float64
        if self.name == "manhattan":
            lengths = np.abs(embeddings).sum(axis=1, dtype=np.float64)
        else:
            lengths = np.sqrt(np.einsum("nh,nh->n", embeddings, embeddings, dtype=np.float64))
        return lengths

    def compare(self, first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
        """(S, B, H) and (S, C, H) embeddings -> (S, B, C) similarities."""
        if self.name in ("cosine", "dot"):
            products: NDArray[np.float64] = first @ second.transpose(0, 2, 1)
            return products
        norm = 1.0 if self.name == "manhattan" else 2.0
        distances: NDArray[np.float64] = torch.cdist(torch.from_numpy(first), torch.from_numpy(second), p=norm).numpy()
        return -distances

    def _sizes(self, lengths: _Float64, longest: float) -> _Float64:
        """(Q,) the largest size that a query's similarities can have with embeddings of these lengths."""
        return lengths * longest if self.name in ("cosine", "dot") else lengths + longest


def unit(embeddings: torch.Tensor) -> torch.Tensor:
    """(N, H) embeddings -> the same of length 1; of zeros where they are zeros."""
    return torch.nn.functional.normalize(embeddings, dim=1)


def unit_rows(similarity: Similarity, embeddings: _Float32) -> _Float32:
    """(N, H) embeddings as a model's similarity takes them -> the same of length 1."""
    return embeddings if similarity.needs_unit_length else unit(torch.from_numpy(embeddings)).numpy()


def multiply(queries: _Float32, documents: _Float32, *, out: _Float32 | None = None) -> _Float32:
    """(Q, H) and (D, H) embeddings -> (Q, D) products.

    Those with many documents are torch's, which keeps to the threads that it is given and does not wait for them at
    work. NumPy's have other last digits, which small studies of the past have in their figures.
    """
    if len(documents) < MANY_DOCUMENTS:
        return np.matmul(queries, documents.T, out=out)
    found = np.empty((len(queries), len(documents)), dtype=np.float32) if out is None else out
    torch.mm(torch.from_numpy(queries), torch.from_numpy(documents).T, out=torch.from_numpy(found))
    return found


def _bound_error(dtype: type[np.floating[Any]], sizes: _Float64, *, terms: int) -> _Float64:
    """(Q,) bound of the error of sums of a size: Higham, Accuracy and Stability of Numerical Algorithms, 3.1.

    Some terms are added, for what is done with the sums.
    """
    rounding = (terms + 8) * float(np.finfo(dtype).eps) / 2
    return 1.001 * rounding / (1.0 - rounding) * sizes + terms * float(np.finfo(dtype).tiny)


def similarity_in_training(model: SentenceTransformer) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The model's similarity for a loss, on the dimensions that it is used with."""
    compare = SimilarityFunction.to_similarity_fn(model.similarity_fn_name)
    dimensions = model.truncate_dim
    if dimensions is None:
        return compare

    def compare_cut(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return compare(truncate_embeddings(first, dimensions), truncate_embeddings(second, dimensions))

    return compare_cut
