from __future__ import annotations

import numpy as np
import pytest

from sweep.data.overlaps import LONG_RUN, MAX_TEXTS, SHORT_RUN, find_overlaps, is_overlap


def words(first: int, last: int, *, name: str = "w") -> list[str]:
    return [f"{name}{number}" for number in range(first, last)]


@pytest.mark.parametrize(
    ("first", "second", "overlaps"),
    [
        (words(0, 30), words(20, 50), True),
        (words(0, 30), words(30 - SHORT_RUN, 50), True),
        (words(0, 30), words(31 - SHORT_RUN, 50), False),
        (words(0, 50), words(10, 30), True),
        (words(0, 50), words(0, LONG_RUN), True),
        (words(0, 50), words(0, LONG_RUN - 1), False),
        (words(0, 50), words(10, 10 + LONG_RUN) + words(0, 9, name="x"), True),
        (words(0, 50), words(10, 9 + LONG_RUN) + words(0, 9, name="x"), False),
        (words(0, 4, name="title") + words(0, 30), words(0, 4, name="title") + words(20, 50), True),
        (words(0, 20) + words(0, 9, name="x"), words(0, 20) + words(0, 9, name="y"), False),
        (words(0, 9, name="x") + words(0, 20), words(0, 9, name="y") + words(0, 20), False),
        (words(0, 9, name="x") + words(0, 20) + words(0, 9, name="z"), words(0, 9, name="y") + words(0, 20), False),
        ([], words(0, 30), False),
    ],
    ids=[
        "a cut",
        "eight words to the end",
        "seven words to the end",
        "a part",
        "the beginning of a page",
        "too short a beginning",
        "thirteen words further on",
        "twelve words further on",
        "a cut below one title",
        "one beginning",
        "one end",
        "one sentence in the middle",
        "no text",
    ],
)
def test_chunks_of_one_text_overlap_and_texts_that_share_a_sentence_do_not(
    first: list[str], second: list[str], overlaps: bool
) -> None:
    assert is_overlap(first, second) is overlaps
    assert is_overlap(second, first) is overlaps
    assert find_overlaps({"source": first}, {"other": second}) == ({"other"} if overlaps else set())


def test_every_chunk_beside_a_held_out_one_is_found_in_a_corpus_of_chunks() -> None:
    random = np.random.default_rng(0)
    chunks = {}
    for page in range(20):
        text = random.integers(0, 3000, size=400).astype(str).tolist()
        chunks |= {(page, start): text[start : start + 60] for start in range(0, 400, 40)}
    names = {key: f"{key[0]}-{key[1]}" for key in chunks}
    held = [key for key in chunks if random.random() < 0.2]
    found = find_overlaps(
        {names[key]: chunks[key] for key in held}, {names[key]: text for key, text in chunks.items() if key not in held}
    )
    beside = {(page, start + step) for page, start in held for step in (-40, 40)} & chunks.keys() - set(held)
    assert found == {names[key] for key in beside}


def test_what_more_than_ten_documents_hold_is_boilerplate() -> None:
    notice = words(0, 20, name="notice")
    source = {"source": words(0, 9) + notice}
    few = {f"other {number}": notice + words(0, 9, name=f"x{number}-") for number in range(MAX_TEXTS - 1)}
    assert find_overlaps(source, few) == few.keys()
    many = {**few, "one more": notice + words(0, 9, name="y")}
    assert find_overlaps(source, many) == set()
