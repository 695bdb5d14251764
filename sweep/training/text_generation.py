"""answer_documents: the job in which a language model writes queries for documents, a batch at a time."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import DynamicCache, StoppingCriteria, StoppingCriteriaList

from sweep.data.collection import Document
from sweep.data.generators.language_model import LanguageModel
from sweep.data.generators.prompted import DOCUMENT
from sweep.data.model_folder import locate_language_model
from sweep.messages import AnswerTask, Channel, Sign, give_no_sign
from sweep.training.answer_batches import answer_in_batches, find_generator
from sweep.training.devices import translate_oom
from sweep.training.language_models import load_language_model


def answer_documents(task: AnswerTask, channel: Channel) -> int:
    """Appends what a generator's model answers for each document, and returns how many those are.

    Raises:
        ModelError: If the model cannot be loaded.
        DeviceMemoryError: If it ran out of memory.
        OSError: If the answers cannot be written; those that were stay.
    """
    generator = find_generator(task)
    assert isinstance(generator, LanguageModel)
    source = locate_language_model(generator.model, task.folder)
    with translate_oom(task.device, generator.batch):
        model, tokenizer = load_language_model(
            source, device=task.device, precision=generator.precision, sign=channel.sign
        )
        writer = QueryWriter(generator, model, tokenizer, is_causal=source.kind == "causal")

        def write(documents: Sequence[Document], contents: Sequence[str]) -> list[list[str]]:
            return writer.write(documents, seeds=contents, sign=channel.sign)

        return answer_in_batches(task, write, batch=generator.batch)


_TOKENS_AT_ONCE = 4
"""Tokens of a batch's answers after which those that have ended leave it: most queries end before the longest."""


class QueryWriter:
    """Writes queries for batches of documents with a loaded model.

    The part of the prompt before the document goes through a causal model once, not once for each document.

    Args:
        generator: The prompt and the settings.
        model: The model, in evaluation mode.
        tokenizer: Its tokenizer, with a padding token.
        is_causal: Whether the model goes on with the prompt; else it answers it.
    """

    def __init__(self, generator: LanguageModel, model: Any, tokenizer: Any, *, is_causal: bool) -> None:
        self._generator, self._model, self._tokenizer = generator, model, tokenizer
        prompt = generator.prompt
        if generator.chat:
            message = [{"role": "user", "content": prompt}]
            prompt = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
        self._before, self._behind = prompt.split(DOCUMENT)
        self._is_causal, self._adds_special = is_causal, not generator.chat
        line_ends = torch.tensor(sorted(_list_line_ends(tokenizer)), device=model.device)
        self._stop = StoppingCriteriaList([_LineEnd(line_ends)])
        self._ends = torch.cat([line_ends, torch.tensor(_list_text_ends(model), device=model.device)])
        self._prefix = self._read_prefix() if is_causal else None

    def write(
        self, documents: Sequence[Document], *, seeds: Sequence[str], sign: Sign = give_no_sign
    ) -> list[list[str]]:
        """The answers for each document, as they came.

        Args:
            documents: A batch of documents.
            seeds: A text for each, on which its sampling depends.
            sign: Is given after each answer of the batch.
        """
        answers: list[list[str]] = [[] for _ in documents]
        texts = [self._generator.show(document) for document in documents]
        for number in range(self._generator.queries):
            torch.manual_seed(hash_seed(self._generator.seed, number, *seeds))
            for found, answer in zip(answers, self._write(texts), strict=True):
                found.append(answer)
            sign()
        return answers

    @torch.inference_mode()
    def _write(self, texts: Sequence[str]) -> list[str]:
        written = self._go_on(self._continue(texts)) if self._is_causal else self._answer(self._ask(texts))
        answers: list[str] = self._tokenizer.batch_decode(written, skip_special_tokens=True)
        return answers

    def _answer(self, inputs: dict[str, Any]) -> torch.Tensor:
        """(B, T) the tokens of the answers of a model that reads the prompt by itself."""
        settings = self._settings(self._generator.max_tokens)
        written: torch.Tensor = self._model.generate(**inputs, **settings, stopping_criteria=self._stop)
        return written[:, 1:]

    def _go_on(self, inputs: dict[str, Any]) -> torch.Tensor:
        """(B, T) the tokens with which a causal model goes on, a few at a time: then answers that have ended leave."""
        most, pad = self._generator.max_tokens, self._tokenizer.pad_token_id
        written = torch.full((len(inputs["input_ids"]), most), pad, device=self._model.device)
        rows = torch.arange(len(written), device=self._model.device)  # of the answers that have not ended
        for start in range(0, most, _TOKENS_AT_ONCE):
            settings = self._settings(min(_TOKENS_AT_ONCE, most - start))
            made = self._model.generate(
                **inputs, **settings, stopping_criteria=self._stop, return_dict_in_generate=True
            )
            further = made.sequences[:, inputs["input_ids"].shape[1] :]
            written[rows, start : start + further.shape[1]] = further
            going = torch.nonzero(~torch.isin(further, self._ends).any(dim=1))[:, 0]
            if not len(going):
                break
            rows = rows[going]
            mask = torch.nn.functional.pad(inputs["attention_mask"], (0, further.shape[1]), value=1)
            made.past_key_values.batch_select_indices(going)
            inputs = {
                "input_ids": made.sequences[going],
                "attention_mask": mask[going],
                "past_key_values": made.past_key_values,
            }
        return written

    def _settings(self, most: int) -> dict[str, Any]:
        generator = self._generator
        sampled: dict[str, Any] = {"do_sample": False}
        if generator.temperature > 0:
            sampled = {"do_sample": True, "temperature": generator.temperature, "top_p": generator.top_p, "top_k": 0}
        return {**sampled, "max_new_tokens": most, "pad_token_id": self._tokenizer.pad_token_id}

    def _ask(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        asked = [f"{self._before}{text}{self._behind}" for text in texts]
        made: dict[str, torch.Tensor] = self._tokenizer(asked, return_tensors="pt", padding=True)
        return {name: made[name].to(self._model.device) for name in ("input_ids", "attention_mask")}

    def _continue(self, texts: Sequence[str]) -> dict[str, Any]:
        """The prompt's prefix, then padding, then the documents, so that all of a batch share the prefix's cache."""
        rests = [self._tokenizer(f"{text}{self._behind}", add_special_tokens=False)["input_ids"] for text in texts]
        longest = max(map(len, rests))
        pad = self._tokenizer.pad_token_id
        prefix = [] if self._prefix is None else self._prefix[0]
        rows = [[*prefix, *[pad] * (longest - len(rest)), *rest] for rest in rests]
        masks = [[1] * len(prefix) + [0] * (longest - len(rest)) + [1] * len(rest) for rest in rests]
        device = self._model.device
        inputs = {
            "input_ids": torch.tensor(rows, device=device),
            "attention_mask": torch.tensor(masks, device=device),
        }
        if self._prefix is None:
            return inputs
        cache = copy.deepcopy(self._prefix[1])
        cache.batch_repeat_interleave(len(texts))
        return {**inputs, "past_key_values": cache}

    @torch.inference_mode()
    def _read_prefix(self) -> tuple[list[int], DynamicCache] | None:
        """The tokens before the document, and what a causal model keeps of them; None where there are none."""
        tokens = self._tokenizer(self._before, add_special_tokens=self._adds_special)["input_ids"]
        if tokens and tokens[-1] in (self._tokenizer.eos_token_id, self._tokenizer.sep_token_id):
            tokens = tokens[:-1]  # what ends a text does not stand before a document
        if not tokens:
            return None
        cache = DynamicCache(config=self._model.config)
        self._model(torch.tensor([tokens], device=self._model.device), past_key_values=cache, use_cache=True)
        return tokens, cache


class _LineEnd(StoppingCriteria):
    """Ends an answer at the end of its first line: a query is one."""

    def __init__(self, ends: torch.Tensor) -> None:
        self._ends = ends

    def __call__(self, input_ids: torch.LongTensor, scores: Any, **_: Any) -> Any:  # noqa: ARG002 - its promise
        """(B,) whether each answer's last token ends a line."""
        return torch.isin(input_ids[:, -1], self._ends)


def _list_line_ends(tokenizer: Any) -> Iterator[int]:
    """The tokens that hold a line break behind letters or alone."""
    pieces = tokenizer.batch_decode([[number] for number in range(len(tokenizer))])
    yield from (number for number, piece in enumerate(pieces) if "\n" in piece)


def _list_text_ends(model: Any) -> list[int]:
    """The tokens that end a model's text."""
    found = model.generation_config.eos_token_id
    return [] if found is None else [found] if isinstance(found, int) else list(found)


def hash_seed(*facts: object) -> int:
    """A seed that depends on some facts, the same in every process."""
    return int.from_bytes(hashlib.sha256(repr(facts).encode()).digest()[:4], "big")
