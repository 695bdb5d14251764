from __future__ import annotations

import unicodedata

import pytest

from sweep.data.leaks import find_document_leaks, find_groups, find_near, find_query_leaks, normalize

PARAGRAPH = (
    "The quick brown fox jumps over the lazy dog while seven clever owls watch from an old oak near the river bank"
)
"""Twenty distinct words."""


def find(texts: dict[str, str], *, judged: set[str], titles: dict[str, str] | None = None, group: str | None = None):
    titles = {name: (titles or {}).get(name, "") for name in texts}
    found = find_document_leaks(texts, titles, judged=judged, trainable=set(texts), groups=find_groups(titles, group))
    return {reason: set(names) for reason, names in found.items()}


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (PARAGRAPH, "copy"),
        (PARAGRAPH.upper(), "copy"),
        (f"  {PARAGRAPH.replace(' ', '   ')}\n", "copy"),
        (PARAGRAPH.replace("clever", "cunning"), "near"),
        (PARAGRAPH + " today", "near"),
        (" ".join(PARAGRAPH.split()[8:]) + " and wait there for the moon to rise above the hills beyond", "overlap"),
        (" ".join(PARAGRAPH.split()[:10]) + " and nobody cares about what becomes of anything else here", None),
        ("Another text.", None),
    ],
)
def test_a_document_leaks_by_the_first_reason_that_holds(other: str, reason: str | None) -> None:
    expected = {"judged": {"d1"}} | ({} if reason is None else {reason: {"d2"}})
    assert find({"d1": PARAGRAPH, "d2": other}, judged={"d1"}) == expected


def test_a_copy_may_be_composed_in_another_way_of_unicode() -> None:
    text = "Café crème brûlée"
    assert unicodedata.normalize("NFD", text) != text
    assert normalize(unicodedata.normalize("NFD", text)) == normalize(text)
    assert find({"d1": text, "d2": unicodedata.normalize("NFD", text)}, judged={"d1"})["copy"] == {"d2"}


def test_documents_without_a_text_are_no_copies_of_each_other() -> None:
    assert find({"d1": "", "d2": "", "d3": " "}, judged={"d1"}) == {"judged": {"d1"}}


def test_nearly_equal_texts_under_other_titles_are_not_nearly_equal() -> None:
    texts = {
        "d1": "It is done in week ten, with care and much water.",
        "d2": "It is done in week two, with care and much water.",
    }
    assert "near" in find(texts, judged={"d1"}, titles={"d1": "", "d2": ""})
    assert "near" not in find(texts, judged={"d1"}, titles={"d1": "Planting ash", "d2": "Cutting willow"})


def test_a_pattern_that_many_texts_are_made_of_makes_no_copies() -> None:
    texts = {f"d{number}": PARAGRAPH.replace("fox", f"animal{number}") for number in range(12)}
    judged = {f"d{number}" for number in range(11)}
    assert "near" not in find(texts, judged=judged)
    assert find({name: texts[name] for name in ("d0", "d11")}, judged={"d0"})["near"] == {"d11"}


def test_only_what_could_be_trained_on_is_looked_at() -> None:
    texts = {"d1": PARAGRAPH, "d2": PARAGRAPH, "d3": PARAGRAPH}
    found = find_document_leaks(texts, dict.fromkeys(texts, ""), judged={"d1"}, trainable={"d2"}, groups={})
    assert found == {"copy": {"d2"}}
    # a judgement may be about a document that is not there
    assert find(texts, judged={"d9"}) == {}


@pytest.mark.parametrize(
    ("group", "together"),
    [
        ("title", {"page-1", "page-2"}),
        (r"^(.+)-\d+$", {"page-2", "page-3"}),
        ("page", {"page-2", "page-3"}),
        (None, set()),
    ],
)
def test_a_group_is_held_out_together(group: str | None, together: set[str]) -> None:
    texts = {name: f"{name} text" for name in ("page-1", "page-2", "page-3", "other-1")}
    titles = {"page-1": "A  Page", "page-2": "a page", "page-3": "", "other-1": ""}
    judged = {"page-1"}
    found = find(texts, judged=judged, titles=titles, group=group)
    assert found == {"judged": judged} | ({"group": together - judged} if together else {})


@pytest.mark.parametrize(
    ("ours", "reason"),
    [
        ("How do I boil an egg?", "equal"),
        ("how do i  BOIL an egg?", "equal"),
        ("How do I boil an egg", "near"),
        ("How do I boil an ostrich egg?", None),
        ("How do I fry an egg?", None),
        ("What is the best way to boil an egg so that it stays soft inside?", None),
    ],
)
def test_a_train_query_leaks_where_it_asks_the_same(ours: str, reason: str | None) -> None:
    queries = {"q1": "How do I boil an egg?", "q2": ours}
    assert find_query_leaks(queries, train={"q2"}, held={"q1"}) == ({} if reason is None else {reason: {"q2"}})


def test_a_long_train_query_leaks_with_a_word_more() -> None:
    long = "what is the best way to boil an egg so that it stays soft inside"
    queries = {"q1": long, "q2": f"{long} please", "q3": long.replace("boil an egg", "bake a fish")}
    assert find_query_leaks(queries, train={"q2", "q3"}, held={"q1"}) == {"near": {"q2"}}


def test_a_query_of_two_splits_leaks_whatever_its_text() -> None:
    assert find_query_leaks({"q1": "?!"}, train={"q1", "q9"}, held={"q1", "q8"}) == {"equal": {"q1"}}


def test_texts_without_a_word_are_near_to_none() -> None:
    assert find_near({"a": []}, {"b": []}, share=0.8) == set()
