"""Loss: the objective of training, and its value on held-out rows; no torch until it is built."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from sweep.data.formats.format import ROLES, Role, Roles
from sweep.settings.entries import Entry

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

    from sweep.training.similarity import Similarity

ONE = range(1, 2)
ANY_NUMBER = range(100)


class Loss(Entry):
    """A loss; its fields are its options, and ``takes`` the numbers of columns of each role, 0 where none is named.

    A study file sets the options under ``[loss]`` as ``options``, but for those with the name of a dimension of the
    search space, such as ``scale``: these are set there, trial by trial.
    """

    takes: ClassVar[Mapping[Role, range]]

    def find_mismatch(self, roles: Roles) -> str | None:
        """The reason why it does not fit columns of these roles, for a message; None where it fits."""
        counts = Counter(roles.values())
        for role in ROLES:
            taken = self.takes.get(role, range(1))
            if counts[role] not in taken:
                number = taken.start if len(taken) == 1 else f"{taken.start} or more"
                return f"takes {number} columns of the role {role}, not {counts[role]}"
        return None

    def build(self, model: SentenceTransformer, *, micro_batch: int | None, gather: bool = False) -> torch.nn.Module:
        """The loss as a module of the trainer's, which gives it the columns in the order of `ROLES`.

        With ``gather`` each process of several has a part of the batch: the mean of their losses, and its gradient,
        must be those of the whole batch. At most ``micro_batch`` rows, fewer than a process has of it, go through the
        model at once; None where all may. Without dropout the gradient must not depend on it but for rounding.
        """
        raise NotImplementedError

    def validation_loss(self, embeddings: Sequence[NDArray[np.float32]], *, similarity: Similarity) -> float:
        """The same loss of a model that is not training, by NumPy in 64 bits, as the mean over S batches of B.

        Of each column there are (S, B, H) embeddings as the similarity compares them, in the order of `ROLES`.
        """
        raise NotImplementedError
