from __future__ import annotations

import os

import pytest

from sweep.data.study_collection import load_study_collection
from sweep.errors import CollectionError
from sweep.settings.study_file import load_study
from sweep.testing import write_toy_study


def test_a_collection_of_another_content_than_the_planned_one_is_refused_by_the_machines_name(tmp_path):
    spec, here = load_study(write_toy_study(tmp_path, script={})), os.uname().nodename
    content = load_study_collection(spec, folder=tmp_path).content_hash
    assert load_study_collection(spec, folder=tmp_path, content=content).content_hash == content
    with pytest.raises(CollectionError, match=rf"is another version on {here} \({content[:12]}\) than .* \(planned\)"):
        load_study_collection(spec, folder=tmp_path, content="planned")
