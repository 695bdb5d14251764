"""answer_documents: the job in which a generator makes queries with the untrained model of the study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sweep.data.generators.encoded import Encoded
from sweep.messages import AnswerTask, Channel
from sweep.training.answer_batches import answer_in_batches, find_generator
from sweep.training.devices import translate_oom
from sweep.training.hard_search import encode_texts
from sweep.training.models import load_base_model


def answer_documents(task: AnswerTask, channel: Channel) -> int:
    """Appends what a generator makes for each document, and returns how many those are.

    Raises:
        ModelError: If the model cannot be used, or its embeddings are not finite.
        GeneratorError: If the generator cannot go on.
        DeviceMemoryError: If the memory was exhausted.
        OSError: If the answers cannot be written; those that were stay.
    """
    generator = find_generator(task)
    assert isinstance(generator, Encoded)
    channel.sign(long_call=True)
    with translate_oom(task.device, generator.batch):
        model = load_base_model(task.spec.model, task.folder).model.to(task.device).eval()

        def encode(texts: Sequence[str], kind: Literal["query", "document"]) -> NDArray[np.float32]:
            return encode_texts(model, texts, kind, channel.sign)

        return answer_in_batches(
            task, lambda documents, _: generator.answer_all(documents, encode), batch=generator.batch
        )
