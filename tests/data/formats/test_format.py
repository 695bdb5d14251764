from __future__ import annotations

from sweep.data.formats.format import columns_of

ROLES = {"first_wrong": "negative", "what": "anchor", "second_wrong": "negative", "answer": "positive"}


def test_columns_come_in_the_order_of_the_roles_that_are_wanted_and_then_in_their_own() -> None:
    assert columns_of(ROLES, "anchor", "positive", "negative") == ("what", "answer", "first_wrong", "second_wrong")
    assert columns_of(ROLES, "negative", "anchor") == ("first_wrong", "second_wrong", "what")
    assert columns_of(ROLES) == ()
