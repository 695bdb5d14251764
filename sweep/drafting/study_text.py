"""The text of a drafted study file: each key with the reason why this value suits this collection."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sweep.data.lengths import MOST, measure_lengths, share_above
from sweep.drafting.collection_look import CollectionLook
from sweep.drafting.drafted_settings import DraftedSettings, as_shares
from sweep.printable import make_printable
from sweep.progress import count_steps, plan_evaluations
from sweep.settings.data_spec import DataSpec
from sweep.settings.study_file import DropOffSpec
from sweep.stopping.power import smallest_fall

COMMENT = 40
"""Column at which a comment begins, where the value before it leaves the room."""

WIDTH = 120

METRIC = "ndcg@10"


def write_draft(
    look: CollectionLook, settings: DraftedSettings, *, name: str, data: DataSpec, base: str, is_default: bool
) -> str:
    """The text of a study file.

    Args:
        look: The collection.
        settings: The settings that suit it.
        name: The study's name.
        data: Its table of the data.
        base: The base model.
        is_default: Whether nobody chose the base model.
    """
    tables = {
        "": [
            *_wrap(
                f"A study of {data.collection}, drafted by `sweep init` from a look at it: every value is a proposal."
                " `sweep check` says what a run of it would do and cost, `sweep data` shows its texts."
            ),
            *_entry("name", name),
        ],
        "model": _describe_model(look, settings, base=base, is_default=is_default),
        "data": _describe_data(look, data),
        "evaluation": _describe_evaluation(look, settings),
        "budget": _describe_budget(look, settings),
        "space": _describe_space(look, settings),
        "stopping": _describe_stopping(look, settings),
    }
    parts = ["\n".join([f"[{table}]", *lines] if table else lines) for table, lines in tables.items()]
    starts = [
        "\n".join(["[[space.start]]", *(line for key, value in start.items() for line in _entry(key, value))])
        for start in settings.starts
    ]
    place = list(tables).index("stopping")
    return "\n\n".join([*parts[:place], *starts, *parts[place:]]) + "\n"


def _describe_model(look: CollectionLook, settings: DraftedSettings, *, base: str, is_default: bool) -> Iterator[str]:
    yield from _entry("base", base, "the model that comes with sweep; or a hub id, or a folder" if is_default else "")
    if is_default:
        yield from _wrap("keep_layers = [0, 5] keeps two of its six layers: several times as fast on a CPU")
    length = settings.max_seq_length
    if length is None:
        yield from _wrap("no max_seq_length: the model reads texts of any length")
        return
    known, asked = measure_lengths(look.documents), measure_lengths(look.queries)
    about = "about (estimated from words) " if look.is_estimated else ""
    reads = "" if look.limits.tokens is None else f"; the model reads {look.limits.tokens:,} as it is"
    more = look.limits.positions
    reads += f", at most {more:,}" if more is not None and more != look.limits.tokens else ""
    cut = share_above(look.documents, length)
    loss = f"; {cut:.0%} of the documents are cut at {length}" if cut >= 0.005 else ""
    yield from _entry(
        "max_seq_length",
        length,
        f"{MOST} % of the documents have at most {about}{known.most:,} tokens, half of them at most {known.median:,};"
        f" of the queries {asked.most:,}{reads}{loss}",
    )


def _describe_data(look: CollectionLook, data: DataSpec) -> Iterator[str]:
    collection = look.collection
    counts = f"{len(collection.documents):,} documents, {len(collection.queries):,} queries"
    yield from _entry("collection", data.collection, counts)
    if look.titled:
        yield from _entry("document", data.document, f"{look.titled:,} documents have a title beside their text")
    counted = f"train {look.evaluable['train']:,}, dev {look.evaluable['dev']:,}, test {look.evaluable['test']:,}"
    if look.held_out:
        shares = {"dev": data.split.dev, "test": data.split.test, "seed": data.split.seed}
        why = f"it brings no dev split, so it is split by document; queries: {counted}"
        yield from _entry("split", shares, why)
    else:
        yield from _wrap(f"the splits are the authors'; queries: {counted}")
    if not look.evaluable["test"]:
        yield from _wrap("there is no test split: the figure of the best model will be optimistic")
    documents, queries = (sum(known.values()) for known in (look.leaks.documents, look.leaks.queries))
    if documents or queries:
        yield from _wrap(
            f"training leaves out {documents:,} documents and {queries:,} queries that give dev or test away"
            ' (split.leaks = "keep" trains on them)'
        )
    if look.alike:
        yield from _wrap(
            f"{look.alike:,} training documents have the title of one judged for dev or test: where these are chunks of"
            ' one page, split.group = "title" keeps a page together'
        )
    positive = [grade for grade in look.grades if grade > 0]
    if len(positive) > 1:
        given = ", ".join(f"{grade:g}" for grade in look.grades[:9])
        yield from _wrap(
            f"grades are {given}, and from {positive[0]:g} on a document is a positive: set relevant = {positive[1]:g}"
            f" if a grade of {positive[0]:g} is only related"
        )


def _describe_evaluation(look: CollectionLook, settings: DraftedSettings) -> Iterator[str]:
    evaluated, documents, queries = settings.evaluated, len(look.collection.documents), look.evaluable["dev"]
    yield from _entry("metric", METRIC, "or recall@100, mrr@10, map@10")
    if evaluated.max_documents is None:
        yield from _wrap(f"all {documents:,} documents are ranked")
    else:
        judged = look.count_judged(evaluated.max_queries or queries)
        why = f"of {documents:,}: the {judged:,} judged for dev, then a sample; more are harder and take longer"
        yield from _entry("max_documents", evaluated.max_documents, why)
    if evaluated.max_queries is None:
        yield from _wrap(f"all {queries:,} dev queries are evaluated on")
    else:
        why = f"of {queries:,} in dev; the more, the smaller a fall they can show"
        yield from _entry("max_queries", evaluated.max_queries, why)
    steps = count_steps(settings.examples, settings.batch_sizes[1])
    looks = len(plan_evaluations(settings.grid, steps))
    texts = min(documents, evaluated.max_documents or documents) + (evaluated.max_queries or queries)
    yield from _entry(
        "grid",
        as_shares(settings.grid),
        f"{looks} evaluations of {texts:,} texts at batch {settings.batch_sizes[1]}, dense in the beginning, where"
        " retrieval peaks",
    )


def _describe_budget(look: CollectionLook, settings: DraftedSettings) -> Iterator[str]:
    starts, (low, high) = len(settings.starts), settings.batch_sizes
    yield from _entry("trials", settings.trials, f"a total: the {starts} start points, then the search")
    passes = ", ".join(f"{settings.examples / one.pairs:.2g} of {name}" for name, one in look.formats.items())
    steps = f"{count_steps(settings.examples, low):,} steps at batch {low}"
    steps += f", {count_steps(settings.examples, high):,} at {high}" if high != low else ""
    yield from _entry("examples", settings.examples, f"training pairs of a trial: {steps}; passes: {passes}")


def _describe_space(look: CollectionLook, settings: DraftedSettings) -> Iterator[str]:
    low, high = settings.batch_sizes
    yield from _entry("learning_rate", {"low": 5e-6, "high": 6e-4, "log": True}, "from too low to too high")
    yield from _entry("warmup_ratio", {"low": 0.0, "high": 0.3}, "share of the steps")
    poorest = min(look.formats, key=lambda name: look.formats[name].distinct)
    why = f"powers of two: {look.formats[poorest].distinct:,} distinct texts of {poorest} fill several of the largest"
    yield from _entry("batch_size", high if low == high else {"low": low, "high": high}, why)
    pairs = ", ".join(f"{one.pairs:,} pairs of {name}" for name, one in look.formats.items())
    yield from _entry("data_format", list(settings.formats), pairs)
    for reason in look.missing.values():
        yield from _wrap(f"left out: {reason.removeprefix(f'{look.collection.name}: ')}")


def _describe_stopping(look: CollectionLook, settings: DraftedSettings) -> Iterator[str]:
    rule, queries = DropOffSpec(), settings.evaluated.max_queries or look.evaluable["dev"]
    fall = smallest_fall(queries, margin=rule.margin)
    values = {"margin": rule.margin, "alpha": rule.alpha, "grace": rule.grace}
    yield from _entry("drop_off", values, f"{queries:,} dev queries can show a fall of {fall:.3f}")


def _entry(key: str, value: Any, why: str = "") -> Iterator[str]:
    """A key with its value, and the reason beside it or, where that is long, above."""
    line = f"{key} = {quote_toml(value)}"
    beside = f"{line:<{COMMENT - 2}}  # {make_printable(why)}" if why else line
    if len(beside) > WIDTH:
        yield from _wrap(why)
    yield line if len(beside) > WIDTH else beside


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(make_printable(text), WIDTH, initial_indent="# ", subsequent_indent="# ")


def quote_toml(value: Any) -> str:
    """A value as TOML has it."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {quote_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(quote_toml, value)) + "]"
    if isinstance(value, float):
        return _write_number(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _write_number(value: float) -> str:
    """A number as a person writes it: 5e-6 and not 5e-06."""
    if not 0 < abs(value) < 1e-2:
        return repr(value)
    mantissa, _, exponent = f"{value:e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}"
