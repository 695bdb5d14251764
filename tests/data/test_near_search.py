from __future__ import annotations

import random

import numpy as np
import pytest

from sweep.data import leaks, near_search
from sweep.data.arrow import Ragged
from sweep.data.leaks import find_document_leaks
from sweep.data.near_search import NearSearch
from sweep.data.near_texts import MinHash, WordNumbers, find_distinct
from sweep.data.overlaps import MAX_TEXTS


def write_texts(*, seed: int, count: int = 400) -> list[list[str]]:
    """Texts that are copies of each other but for some words, and others; some are empty."""
    draw = random.Random(seed)
    words = [f"w{number}" for number in range(60)]
    patterns = [[draw.choice(words) for _ in range(draw.randint(5, 40))] for _ in range(count // 8)]
    texts = []
    for _ in range(count):
        text = [*draw.choice(patterns)] if draw.random() < 0.8 else draw.choices(words, k=draw.randint(0, 30))
        for _ in range(draw.randint(0, len(text) // 6)):
            text[draw.randrange(len(text))] = draw.choice(words)
        texts.append(text)
    return texts


def find_plainly(sources: list[list[str]], texts: list[list[str]], *, share: float) -> list[bool]:
    """Every pair compared."""

    def is_near(first: set[str], second: set[str]) -> bool:
        return bool(first) and len(first & second) >= share * len(first | second)

    counts = [sum(is_near({*text}, {*source}) for source in sources) for text in texts]
    return [0 < count <= MAX_TEXTS for count in counts]


@pytest.mark.parametrize("share", [0.8, 0.9])
@pytest.mark.parametrize("pairs", [1, 1 << 20])
def test_near_texts_are_those_of_a_comparison_of_all_pairs(share, pairs, monkeypatch) -> None:
    monkeypatch.setattr(near_search, "_PAIRS", pairs)
    texts = write_texts(seed=int(share * 10))
    sources, others = texts[:100], texts[100:]
    numbers = WordNumbers()
    found = NearSearch(sources, share=share, numbers=numbers).find(numbers.number(others)).tolist()
    assert found == find_plainly(sources, others, share=share)
    assert {*found} == {True, False}


def test_a_part_of_the_texts_at_a_time_gives_the_same() -> None:
    texts = write_texts(seed=3)
    found = []
    for size in (1, 7, 300):
        numbers = WordNumbers()
        search = NearSearch(texts[:100], share=0.8, numbers=numbers)
        parts = [search.find(numbers.number(texts[start : start + size])) for start in range(100, 400, size)]
        found.append(np.concatenate(parts).tolist())
    assert found[0] == found[1] == found[2]


def test_leaks_are_the_same_however_many_documents_are_looked_at_at_once(monkeypatch) -> None:
    texts = {f"d{number:03}": " ".join(text * 2) for number, text in enumerate(write_texts(seed=4))}
    own = iter(range(10**6))
    for place in range(0, 400, 40):  # chunks that begin where another one ends
        page = [f"p{next(own)}" for _ in range(60)]
        texts |= {f"d{place:03}": " ".join(page[:40]), f"d{place + 1:03}": " ".join(page[25:])}
    titles = {name: name[:3] if place % 3 else "" for place, name in enumerate(texts)}
    answers = {name for place, name in enumerate(texts) if not place % 5}
    found = []
    for size in (1, 7, 4096):
        monkeypatch.setattr(leaks, "_LOOKED_AT_ONCE", size)
        groups = {name: title for name, title in titles.items() if title == "d01"}
        found.append(find_document_leaks(texts, titles, answers=answers, trainable={*texts}, groups=groups))
    assert found[0] == found[1] == found[2]
    assert found[0].keys() == {"judged", "copy", "group", "near", "overlap"}


def test_words_are_numbered_text_by_text_and_in_alphabetical_order_within_one() -> None:
    numbers = WordNumbers()
    first = numbers.number([["b", "a", "b"], [], ["c", "a"]])
    assert [row.tolist() for row in (first[0], first[1], first[2])] == [[1, 0, 1], [], [2, 0]]
    assert numbers.number([["z", "c", "y"]])[0].tolist() == [4, 2, 3]
    assert [row.tolist() for row in (find_distinct(first)[0], find_distinct(first)[2])] == [[0, 1], [0, 2]]


def test_a_signature_hangs_on_the_words_of_its_text_alone() -> None:
    rows = [np.array(row, dtype=np.int32) for row in ([], [3], [0, 5, 900], [5], [], [0, 5, 900])]
    together = MinHash().sign(Ragged.of(rows, np.int32))
    again = MinHash()
    alone = np.concatenate([again.sign(Ragged.of([row], np.int32)) for row in rows])
    np.testing.assert_array_equal(together, alone)
    assert (together[2] == together[5]).all()
    assert (together[1] != together[3]).all()
