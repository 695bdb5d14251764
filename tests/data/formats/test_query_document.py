from __future__ import annotations

from teas import TEA

from sweep.data import make_columns
from sweep.data.formats.query_document import QueryDocument


def test_each_relevant_train_judgement_is_paired_with_the_embedded_document():
    assert make_columns(TEA, QueryDocument(), document="text") == {
        "anchor": ["which is not", "which is not", "which tea is half oxidised"],
        "positive": ["Not oxidised.", "No title.", "Half oxidised."],
    }
    titled = make_columns(TEA, QueryDocument(), document="title-and-text")
    assert titled["positive"] == ["Green\nNot oxidised.", "No title.", "No text", "Oolong\nHalf oxidised."]
