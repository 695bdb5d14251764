"""Loss: what training lowers, how it is built, and how it is taken over held-out rows; no torch until it is built."""

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

ONE = range(1, 2)
ANY_NUMBER = range(100)


class Loss(Entry):
    """A loss; its fields are its options.

    A study file sets them under ``[loss]`` as ``options``, but for those with the name of a dimension of the search
    space, such as ``scale``: these are set there, trial by trial.

    Attributes:
        takes: How many columns of each role it takes; none of a role that is not named.
    """

    takes: ClassVar[Mapping[Role, range]]

    def find_mismatch(self, roles: Roles) -> str | None:
        """Why it cannot be taken over columns of these roles, for a message; None where it can."""
        counts = Counter(roles.values())
        for role in ROLES:
            taken = self.takes.get(role, range(1))
            if counts[role] not in taken:
                number = taken.start if len(taken) == 1 else f"{taken.start} or more"
                return f"takes {number} columns of the role {role}, not {counts[role]}"
        return None

    def build(self, model: SentenceTransformer, *, micro_batch: int | None) -> torch.nn.Module:
        """The loss as the trainer takes it; it is given the columns in the order of `ROLES`.

        Args:
            model: The model that is trained.
            micro_batch: Rows that may go through the model at once, below the batch; None where all may. The gradient
                must not depend on it but for rounding, where there is no dropout.
        """
        raise NotImplementedError

    def validation_loss(self, embeddings: Sequence[NDArray[np.float32]]) -> float:
        """The same loss of a model that is not training, by NumPy in 64 bits, as the mean over batches.

        Args:
            embeddings: (S, B, H) embeddings of length 1 of each column, in the order of `ROLES`, in S batches of B.
        """
        raise NotImplementedError
