"""multiple-negatives-ranking: every other document of a batch is a wrong answer (InfoNCE)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sweep.data.formats.format import Role
from sweep.training.losses.loss import ANY_NUMBER, ONE, Loss

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

    from sweep.training.similarity import Similarity


class MultipleNegativesRanking(Loss):
    """Mean cross-entropy of finding each anchor's positive among the documents of its batch."""

    name = "multiple-negatives-ranking"
    takes: ClassVar[Mapping[Role, range]] = {"anchor": ONE, "positive": ONE, "negative": ANY_NUMBER}

    scale: float = Field(default=20.0, gt=0.0, description="Factor of the similarities (1 / temperature).")

    def build(self, model: SentenceTransformer, *, micro_batch: int | None, gather: bool = False) -> torch.nn.Module:
        """The library's loss, which caches gradients where a batch is cut."""
        from sentence_transformers.sentence_transformer import losses

        from sweep.training.similarity import similarity_in_training

        compare = similarity_in_training(model)
        if micro_batch is None:
            return losses.MultipleNegativesRankingLoss(
                model, scale=self.scale, similarity_fct=compare, gather_across_devices=gather
            )
        return losses.CachedMultipleNegativesRankingLoss(
            model,
            scale=self.scale,
            similarity_fct=compare,
            mini_batch_size=micro_batch,
            gather_across_devices=gather,
        )

    def validation_loss(self, embeddings: Sequence[NDArray[np.float32]], *, similarity: Similarity) -> float:
        """The loss in nats, at least 0; ln(B) for pairs that cannot be told apart."""
        anchors, *documents = (column.astype(np.float64) for column in embeddings)
        candidates = np.concatenate(documents, axis=1)  # (S, B * columns, H), the positives first
        scores = self.scale * similarity.compare(anchors, candidates)  # (S, B, B * columns)
        highest = scores.max(axis=2, keepdims=True)
        normalizers = np.log(np.sum(np.exp(scores - highest), axis=2)) + highest[..., 0]
        return float(np.mean(normalizers - np.diagonal(scores, axis1=1, axis2=2)))
