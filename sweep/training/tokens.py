"""Tokens: texts as a model's input, tokenized once and put together into batches as its own preprocessing would.

A tokenizer treats each text of a batch by itself, and then pads. So tokens are kept without padding, and a batch of any
texts is padded when it is wanted. Whether that gives what the model's preprocessing gives is compared as texts are
tokenized: on every one of the first thousands, and of a larger collection on some of each few thousand. Where it does
not, the texts themselves are kept, and tokenized with every batch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from sweep.data.arrow import Ragged, to_numpy
from sweep.data.compiled import CompiledCollection
from sweep.data.formats.format import TASKS, Prompt
from sweep.data.order import IntArray
from sweep.messages import Sign, give_no_sign
from sweep.training.bare_tokenizer import PROBES, BareTokenizer

TOKENIZED_AT_ONCE = 256

COMPARED = 8192
"""Texts of a task that are all tokenized by the model's preprocessing, and those behind them by its tokenizer."""

_BARE_AT_ONCE = 4096
_COMPARED_OF_EACH = 64

Features = dict[str, Any]
"""A batch of texts as a model takes it: tensors by key, and values that all texts of a task share."""


@dataclass(frozen=True)
class _Key:
    """One key of a model's input.

    Its ``kind`` is ``rows`` for a row of numbers of each text, ``mask`` for where these are, ``offsets`` for where each
    begins, ``number`` for one number of each text, ``shared`` for a value that all batches share. ``value`` is that
    value, or what rows are padded with, if any has been.
    """

    name: str
    kind: Literal["rows", "mask", "offsets", "number", "shared"]
    dtype: str = ""
    value: Any = None


@dataclass(frozen=True)
class _Layout:
    """The keys of a model's input in their order; ``is_left`` says on which side it is padded, once any has been."""

    keys: tuple[_Key, ...]
    is_left: bool | None = None

    @property
    def is_padded(self) -> bool:
        return any(key.kind == "mask" for key in self.keys)

    def merge(self, other: _Layout) -> _Layout | None:
        """What two parts of the same texts have for a layout; None where they contradict each other."""
        sides = {side for side in (self.is_left, other.is_left) if side is not None}
        pairs = list(zip(self.keys, other.keys, strict=False))
        keys = [mine if mine.value is not None else theirs for mine, theirs in pairs]
        is_same = len(self.keys) == len(other.keys) and all(
            (mine.name, mine.kind, mine.dtype) == (theirs.name, theirs.kind, theirs.dtype)
            and (mine.value == theirs.value or (mine.kind == "rows" and None in (mine.value, theirs.value)))
            for mine, theirs in pairs
        )
        return _Layout(tuple(keys), next(iter(sides), None)) if is_same and len(sides) < 2 else None


@dataclass(frozen=True)
class _Rows:
    """The numbers of T texts: by key the rows, all of one length for a text, and those of which each text has one."""

    rows: Mapping[str, Ragged]
    numbers: Mapping[str, NDArray[np.int64]]

    @property
    def lengths(self) -> IntArray:
        """(T,) tokens of each text."""
        return next(iter(self.rows.values())).lengths

    def shrink(self) -> _Rows:
        """The same numbers in the smallest type that holds those of each key."""
        return _Rows({key: found.shrink() for key, found in self.rows.items()}, self.numbers)

    def take(self, places: IntArray) -> _Rows:
        """Some of the texts."""
        rows = {key: found.take(places) for key, found in self.rows.items()}
        return _Rows(rows, {key: found[places] for key, found in self.numbers.items()})

    def assemble(self, layout: _Layout) -> Features:
        """All of the texts as one batch."""
        lengths = self.lengths
        columns = np.arange(lengths.max(initial=0))
        behind = lengths[:, None] if not layout.is_left else len(columns) - lengths[:, None]
        mask = columns >= behind if layout.is_left else columns < behind
        return {key.name: self._assemble(key, layout, mask) for key in layout.keys}

    def _assemble(self, key: _Key, layout: _Layout, mask: NDArray[np.bool_]) -> Any:
        if key.kind == "shared":
            return key.value
        if key.kind == "number":
            found: NDArray[Any] = self.numbers[key.name]
        elif key.kind == "mask":
            found = mask
        elif key.kind == "offsets":
            found = next(iter(self.rows.values())).offsets[:-1]
        elif layout.is_padded:
            found = np.full(mask.shape, key.value or 0, dtype=np.int64)
            found[mask] = self.rows[key.name].values
        else:
            found = self.rows[key.name].values.astype(np.int64)
        return torch.from_numpy(np.ascontiguousarray(found)).to(getattr(torch, key.dtype))


_Made = tuple[_Layout, list[_Rows]]
"""Texts as they were tokenized: what their parts have in common, and the parts."""


@dataclass(frozen=True)
class Tokens:
    """Texts of one task as a model takes them.

    Attributes:
        task: What the texts are to the model.
        texts: (T,) their numbers in the collection, ascending.
        collection: The collection with the texts.
        layout: Layout of the model's input; None where it is tokenized with every batch.
        rows: The tokens of the texts.
    """

    task: Prompt
    texts: IntArray
    collection: CompiledCollection
    layout: _Layout | None
    rows: _Rows | None

    def lengths(self, texts: IntArray) -> IntArray:
        """Tokens of texts with some numbers, cut to the model's limit; characters where its input has no mask."""
        if self.layout is None or self.rows is None or not self.layout.is_padded:
            return self.collection.characters[texts]
        return self.rows.lengths[self._places(texts)]

    def batch(self, texts: IntArray, model: SentenceTransformer) -> Features:
        """The texts with some numbers as one batch, exactly as the model's ``preprocess`` gives it."""
        if self.layout is None or self.rows is None:
            return _preprocess(model, self.collection.take(texts), self.task)
        return self.rows.take(self._places(texts)).assemble(self.layout)

    def _places(self, texts: IntArray) -> IntArray:
        return np.searchsorted(self.texts, texts)

    def to_table(self) -> pa.Table:
        """The same as an Arrow table."""
        columns: dict[str, Any] = {"text": self.texts}
        if self.rows is not None:
            columns |= {f"rows {key}": found.to_arrow() for key, found in self.rows.rows.items()}
            columns |= {f"number {key}": found for key, found in self.rows.numbers.items()}
        facts = {"task": self.task, "layout": json.dumps(asdict(self.layout) if self.layout else None)}
        return pa.table(columns).replace_schema_metadata(facts)

    @classmethod
    def from_table(cls, table: pa.Table, collection: CompiledCollection) -> Tokens:
        """The tokens of an Arrow table, whose arrays lie where the table does."""
        facts = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
        stored = json.loads(facts["layout"])
        layout = stored and _Layout(tuple(_Key(**key) for key in stored["keys"]), stored["is_left"])
        rows = {
            name.removeprefix("rows "): Ragged.from_arrow(table[name])
            for name in table.column_names
            if name.startswith("rows ")
        }
        numbers = {
            name.removeprefix("number "): to_numpy(table[name])
            for name in table.column_names
            if name.startswith("number ")
        }
        task: Any = facts["task"]
        return cls(task, to_numpy(table["text"]), collection, layout or None, _Rows(rows, numbers) if layout else None)


def tokenize(
    model: SentenceTransformer, collection: CompiledCollection, *, sign: Sign = give_no_sign
) -> dict[Prompt, Tokens]:
    """All texts of a collection as a model takes them, by task; a sign of life follows each few hundred texts."""
    return {task: _tokenize(model, collection, task, sign) for task in TASKS}


def role_prompts(model: SentenceTransformer) -> dict[str, str]:
    """The prompts that a model brings for queries and for documents, without empty ones."""
    return {role: prompt for role, prompt in model.prompts.items() if role in TASKS and prompt}


def _preprocess(model: SentenceTransformer, texts: Sequence[str], task: Prompt) -> Features:
    return model.preprocess(list(texts), prompt=role_prompts(model).get(task), task=task)


def _tokenize(model: SentenceTransformer, collection: CompiledCollection, task: Prompt, sign: Sign) -> Tokens:
    texts = collection.texts_with(task)
    made = _tokenize_compared(model, collection, task, texts[:COMPARED], sign)
    if made is not None and len(texts) > COMPARED:
        further = texts[COMPARED:]
        made = _tokenize_bare(model, collection, task, further, made, sign) or _tokenize_compared(
            model, collection, task, texts, sign
        )
    layout, parts = made or (None, [])
    return Tokens(task, texts, collection, layout, _join(parts) if layout else None)


def _tokenize_compared(
    model: SentenceTransformer, collection: CompiledCollection, task: Prompt, texts: IntArray, sign: Sign
) -> _Made | None:
    """Texts as the model's preprocessing tokenizes them; None where that is not put together again from its parts."""
    layout: _Layout | None = None
    parts: list[_Rows] = []
    for start in range(0, len(texts), TOKENIZED_AT_ONCE):
        chosen = texts[start : start + TOKENIZED_AT_ONCE]
        features = _preprocess(model, collection.take(chosen), task)
        found = _take_apart(features, len(chosen))
        sign()
        if found is None or not _is_equal(found[1].assemble(found[0]), features):
            return None
        layout = found[0] if layout is None else layout.merge(found[0])
        if layout is None:
            return None
        parts.append(found[1].shrink())
    return (layout, parts) if layout else None


def _tokenize_bare(
    model: SentenceTransformer, collection: CompiledCollection, task: Prompt, texts: IntArray, made: _Made, sign: Sign
) -> _Made | None:
    """Further texts as the model's tokenizer gives them by itself; None where its preprocessing gives anything else.

    They are compared on texts in which a difference would show, and on some of every few thousand of the collection.
    """
    layout, parts = made[0], list(made[1])
    rows = [key.name for key in layout.keys if key.kind == "rows"]
    is_plain = layout.is_padded and all(key.kind in ("rows", "mask", "shared") for key in layout.keys)
    bare = BareTokenizer.of(model, task, prompt=role_prompts(model).get(task, ""), keys=rows) if is_plain else None
    known = bare and _compare(bare, model, task, PROBES, layout)
    for start in range(0, len(texts), _BARE_AT_ONCE):
        chosen = collection.take(texts[start : start + _BARE_AT_ONCE])
        known = bare and known and _compare(bare, model, task, chosen[:_COMPARED_OF_EACH], known)
        if not bare or not known:
            return None
        parts.append(_Rows(bare.tokenize(chosen), {}).shrink())
        sign()
    return (known, parts) if known else None


def _compare(
    bare: BareTokenizer, model: SentenceTransformer, task: Prompt, texts: Sequence[str], layout: _Layout
) -> _Layout | None:
    """The layout of a model's input, these texts included; None where a bare tokenizer gives other tokens of them."""
    found = _take_apart(_preprocess(model, texts, task), len(texts))
    ours = bare.tokenize(texts)
    if found is None or ours.keys() != found[1].rows.keys():
        return None
    is_equal = all(ours[key].is_equal(theirs) for key, theirs in found[1].rows.items())
    return layout.merge(found[0]) if is_equal else None


def _join(parts: Sequence[_Rows]) -> _Rows:
    return _Rows(
        {key: Ragged.join([part.rows[key] for part in parts]) for key in parts[0].rows},
        {key: np.concatenate([part.numbers[key] for part in parts]) for key in parts[0].numbers},
    )


def _take_apart(features: Features, count: int) -> tuple[_Layout, _Rows] | None:
    """The layout and the numbers of a batch; None where it is of another kind than padded or flat rows of integers."""
    tensors = {name: value for name, value in features.items() if isinstance(value, torch.Tensor)}
    if any(value.is_floating_point() for value in tensors.values()) or "input_ids" not in tensors:
        return None
    mask, offsets = tensors.get("attention_mask"), tensors.get("offsets")
    keys: list[_Key] = []
    rows: dict[str, Ragged] = {}
    numbers: dict[str, NDArray[np.int64]] = {}
    for name, value in features.items():
        if not isinstance(value, torch.Tensor):
            if not isinstance(value, str | int | float | bool | None):
                return None
            keys.append(_Key(name, "shared", value=value))
            continue
        dtype = str(value.dtype).removeprefix("torch.")
        if name == "attention_mask":
            keys.append(_Key(name, "mask", dtype))
        elif mask is not None and value.shape == mask.shape:
            found, fill = _strip(value, mask)
            rows[name] = found
            keys.append(_Key(name, "rows", dtype, fill))
        elif mask is None and offsets is not None and name == "offsets":
            keys.append(_Key(name, "offsets", dtype))
        elif mask is None and offsets is not None and name == "input_ids":
            begins = np.append(offsets.numpy(), len(value)).astype(np.int64)
            rows[name] = Ragged(begins, value.numpy().astype(np.int32))
            keys.append(_Key(name, "rows", dtype))
        elif value.shape == (count,):
            numbers[name] = value.numpy().astype(np.int64)
            keys.append(_Key(name, "number", dtype))
        else:
            return None
    return _Layout(tuple(keys), None if mask is None else _find_side(mask)), _Rows(rows, numbers)


def _strip(value: torch.Tensor, mask: torch.Tensor) -> tuple[Ragged, int | None]:
    """The rows of a padded tensor, and what it is padded with, if it is."""
    is_token = mask.bool()
    padding = value[~is_token]
    lengths = is_token.sum(dim=1).numpy()
    rows = Ragged(np.concatenate([[0], np.cumsum(lengths)]), value[is_token].numpy().astype(np.int32))
    return rows, int(padding[0]) if len(padding) else None


def _find_side(mask: torch.Tensor) -> bool | None:
    """Whether padding stands before the tokens; None where there is none."""
    if bool(mask.all()):
        return None
    return bool(mask[:, -1].all())


def _is_equal(made: Features, wanted: Features) -> bool:
    return made.keys() == wanted.keys() and all(_is_same(made[key], wanted[key]) for key in made)


def _is_same(made: Any, wanted: Any) -> bool:
    if isinstance(wanted, torch.Tensor):
        return isinstance(made, torch.Tensor) and made.dtype == wanted.dtype and torch.equal(made, wanted)
    return bool(made == wanted)
