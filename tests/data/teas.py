"""A collection of which one document and one query are held out, for the formats."""

from __future__ import annotations

from sweep.data import Collection, Document

TEA = Collection(
    name="tea",
    documents={
        "d3": Document("Oolong", "Half oxidised."),
        "d1": Document("Green", "Not oxidised."),
        "d2": Document("", "No title."),
        "d4": Document("No text", " "),
        "d5": Document("Black", "Held out."),
    },
    queries={"q2": "which tea is half oxidised", "q1": "which is not", "q3": "which is"},
    qrels={
        "train": {"q2": {"d3": 2, "d1": 0}, "q1": {"d1": 1, "d2": 1, "d4": 1, "d5": 1}, "q9": {"d1": 1}},
        "dev": {"q3": {"d5": 1}},
        "test": {},
    },
    held_out=frozenset({"d5"}),
)
