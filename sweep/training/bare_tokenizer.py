"""The tokenizer of a model by itself: what its preprocessing tokenizes texts with, without what that does besides."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Router
from tokenizers import Tokenizer
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers import PreTrainedTokenizerFast

from sweep.data.arrow import Ragged

PROBES = (
    *("", " ", "A", "  Spaces  before,\tbetween\nand behind \n", "UPPER and lower, İstanbul, straße"),
    *("e\u0301 is not \u00e9", "日本語の文 and 한국어", "\U0001f469\u200d\U0001f467 \u200b\ufeff", "\x00\x07 control"),
    *("<b>&amp;</b> <s> </s> <pad> [SEP] [CLS] <|end|>", '{"role": "user", "content": "x"}'),
    *("https://example.com/a.png", "file.jpg", "data:image/png;base64,iVBORw0KGgo="),
    "word " * 40_000,
)
"""Texts in which a preprocessing that changes texts before they are tokenized shows."""

_KNOWN_WORDS = 300_000
"""Words whose tokens are kept, about 100 MB; of a language most texts have no others."""

_FIELDS = {"input_ids": "ids", "token_type_ids": "type_ids"}


def find_tokenizer(model: SentenceTransformer, task: str) -> Any:
    """The tokenizer of the texts of a task, on the way that its routes take; None where it has none."""
    first: Any = next(iter(model.children()), None)
    if isinstance(first, Router):
        routes: Any = first.sub_modules
        first = routes[task if task in routes else first.default_route][0]
    return getattr(first, "tokenizer", None)


class BareTokenizer:
    """A model's tokenizer as its preprocessing has just used it, on all cores and without building tensors.

    That it gives what the preprocessing gives is for its user to compare.

    Args:
        tokenizer: The tokenizer, with its truncation.
        prompt: Text before each text.
        keys: Keys of the model's input that it is to give.
    """

    def __init__(self, tokenizer: Tokenizer, *, prompt: str, keys: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._prompt = prompt
        self._keys = keys
        self._words = WordTokenizer.of(tokenizer)

    @classmethod
    def of(cls, model: SentenceTransformer, task: str, *, prompt: str, keys: Sequence[str]) -> BareTokenizer | None:
        """The tokenizer of a model that reads nothing but texts; None where it gives no such keys by itself."""
        found = find_tokenizer(model, task)
        is_known = isinstance(found, PreTrainedTokenizerFast) and _FIELDS.keys() >= {*keys}
        if not is_known or list(model.modalities) != ["text"]:
            return None
        tokenizer = copy.deepcopy(found.backend_tokenizer)
        tokenizer.no_padding()
        return cls(tokenizer, prompt=prompt, keys=keys)

    def tokenize(self, texts: Iterable[str]) -> dict[str, Ragged]:
        """The numbers of the tokens of each text, without padding, by key."""
        prompted = [self._prompt + text for text in texts]
        if self._words is not None:
            ids = self._words.tokenize(prompted)
            return {
                key: ids if key == "input_ids" else Ragged(ids.offsets, np.zeros_like(ids.values)) for key in self._keys
            }
        encoded = self._tokenizer.encode_batch_fast(prompted)
        ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        return {key: Ragged(ends, _chain(getattr(each, _FIELDS[key]) for each in encoded)) for key in self._keys}


class WordTokenizer:
    """A tokenizer as BERT's, which treats every word by itself, and by which a word is tokenized once.

    Its splitting at spaces alone is enough: what lies between two spaces is tokenized as it stands. Line ends and tabs
    are spaces to it.

    Args:
        tokenizer: The tokenizer, without truncation.
        limit: Tokens of a text that are kept; None for all.
        before: Special tokens before each text.
        behind: Special tokens behind each text.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, limit: int | None, before: Sequence[int], behind: Sequence[int]
    ) -> None:
        self._tokenizer = tokenizer
        self._limit = limit
        self._before, self._behind = tuple(before), tuple(behind)
        self._known: dict[str, tuple[int, ...]] = {}

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> WordTokenizer | None:
        """The tokenizer by words; None of one that is not known to treat each by itself."""
        is_known = isinstance(tokenizer.pre_tokenizer, BertPreTokenizer) and (
            tokenizer.normalizer is None or isinstance(tokenizer.normalizer, BertNormalizer)
        )
        tokens = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
        truncation = tokenizer.truncation or {"max_length": None, "direction": "right"}
        if not is_known or truncation["direction"] != "right" or any(" " in token for token in tokens):
            return None
        limit, plain = truncation["max_length"], copy.deepcopy(tokenizer)
        plain.no_truncation()
        special, alone = (plain.encode("a", add_special_tokens=adds) for adds in (True, False))
        if any(special.type_ids) or len(alone.ids) != 1:
            return None
        place = special.ids.index(alone.ids[0])
        before, behind = special.ids[:place], special.ids[place + 1 :]
        kept = None if limit is None else limit - len(before) - len(behind)
        return cls(plain, limit=kept, before=before, behind=behind)

    def tokenize(self, texts: Iterable[str]) -> Ragged:
        """The numbers of the tokens of each text."""
        words = [text.replace("\n", " ").replace("\t", " ").split(" ") for text in texts]
        if len(self._known) > _KNOWN_WORDS:
            self._known.clear()
        new = [*set().union(*words).difference(self._known)]
        encoded = self._tokenizer.encode_batch_fast(new, add_special_tokens=False)
        self._known.update(zip(new, (tuple(encoding.ids) for encoding in encoded), strict=True))
        ends, find = [0], self._known.__getitem__
        joined: list[int] = []
        for row in words:
            joined.extend(self._before)
            joined.extend(islice(chain.from_iterable(map(find, row)), self._limit))
            joined.extend(self._behind)
            ends.append(len(joined))
        return Ragged(np.array(ends, dtype=np.int64), np.array(joined, dtype=np.int32))


def _chain(rows: Iterable[Sequence[int]]) -> NDArray[np.int32]:
    return np.array([*chain.from_iterable(rows)], dtype=np.int32)
