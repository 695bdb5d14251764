"""find_lost_queries: the job in which the untrained model looks for the documents of generated queries."""

from __future__ import annotations

import numpy as np

from sweep.messages import Channel, RoundTripTask
from sweep.training.hard_search import rank_by_model
from sweep.training.models import load_base_model


def find_lost_queries(task: RoundTripTask, channel: Channel) -> list[int]:
    """Places, ascending, of the queries whose document the untrained model does not rank high enough.

    Raises:
        ModelError: If the model cannot be used, or its embeddings are not finite.
    """
    channel.sign(long_call=True)
    model = load_base_model(task.spec.model, task.folder).model.to(task.device).eval()
    nobody = np.full(len(task.queries), -1, dtype=np.int64)  # no query is itself a document
    depth = min(task.within, len(task.documents))
    ranked = rank_by_model(model, task.documents, task.queries, own=nobody, depth=depth, sign=channel.sign)
    return [place for place, own in enumerate(task.own.tolist()) if own not in ranked[place].tolist()]
