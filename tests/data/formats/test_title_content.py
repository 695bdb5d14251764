from __future__ import annotations

import pytest
from teas import TEA

from sweep.data import make_columns
from sweep.data.formats.title_content import TitleContent


@pytest.mark.parametrize("view", ["text", "title-and-text"])
def test_titles_are_paired_with_text_alone_in_the_order_of_ids(view):
    columns = make_columns(TEA, TitleContent(), document=view)
    assert columns == {"anchor": ["Green", "Oolong"], "positive": ["Not oxidised.", "Half oxidised."]}
