"""Collections, their readers, and the data formats that make training columns out of them."""

from __future__ import annotations

from sweep.data.cache import cache_folder
from sweep.data.collection import (
    SPLITS,
    Collection,
    Document,
    DocumentView,
    EvaluationSet,
    RawCollection,
    Split,
    is_relevant,
    open_for_pairs,
    plan_evaluation_set,
)
from sweep.data.formats import FORMATS, choose_format, make_columns
from sweep.data.formats.format import Columns, Format
from sweep.data.order import IntArray, count_distinct, plan_order
from sweep.data.readers.beir import read_beir, write_beir
from sweep.data.sources import READERS, load_collection, pin_collection, plan_judged
from sweep.data.split import split_by_document
from sweep.data.validation import HeldOutRows, plan_held_out

__all__ = [
    "FORMATS",
    "READERS",
    "SPLITS",
    "Collection",
    "Columns",
    "Document",
    "DocumentView",
    "EvaluationSet",
    "Format",
    "HeldOutRows",
    "IntArray",
    "RawCollection",
    "Split",
    "cache_folder",
    "choose_format",
    "count_distinct",
    "is_relevant",
    "load_collection",
    "make_columns",
    "open_for_pairs",
    "pin_collection",
    "plan_evaluation_set",
    "plan_held_out",
    "plan_judged",
    "plan_order",
    "read_beir",
    "split_by_document",
    "write_beir",
]
