from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from sweep.data import Document, RawCollection, cache_folder
from sweep.data.cache import load_cached
from sweep.errors import CollectionError

TEA = RawCollection({"d1": Document("Tea", "Steep it.")}, {"q1": "how"}, {"judged": {"q1": {"d1": 1}}})


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path / "a cache"))
    return tmp_path / "a cache" / "collections" / "tea"


def never():
    raise AssertionError("the collection was made again")


def load_in_process(barrier, results):
    barrier.wait()
    results.put(load_cached("tea", lambda: TEA) == TEA)


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"SWEEP_CACHE": "/own", "XDG_CACHE_HOME": "/shared"}, Path("/own")),
        ({"SWEEP_CACHE": "", "XDG_CACHE_HOME": "/shared"}, Path("/shared/sweep")),
        ({}, Path("/home/me/.cache/sweep")),
    ],
)
def test_the_cache_lies_where_the_user_says(monkeypatch, variables, folder):
    for name in ("SWEEP_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == folder


def test_a_collection_is_made_once(cache):
    assert load_cached("tea", lambda: TEA) == TEA
    assert load_cached("tea", never) == TEA
    assert [path.name for path in cache.parent.iterdir()] == ["tea"]


@pytest.mark.parametrize("damaged", ["corpus.jsonl.gz", "queries.jsonl.gz", "qrels/judged.tsv", "manifest.json"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut"])
def test_a_damaged_cache_is_made_anew(cache, damaged, damage):
    load_cached("tea", lambda: TEA)
    whole = (cache / damaged).read_bytes()
    if damage == "missing":
        (cache / damaged).unlink()
    else:
        (cache / damaged).write_bytes(b"" if damage == "empty" else whole[: len(whole) // 2])
    assert load_cached("tea", lambda: TEA) == TEA
    assert (cache / damaged).read_bytes() == whole
    assert load_cached("tea", never) == TEA
    assert [path.name for path in cache.parent.iterdir()] == ["tea"]


def test_a_file_in_the_place_of_the_folder_is_replaced(cache):
    cache.parent.mkdir(parents=True)
    cache.write_text("in the way")
    load_cached("tea", lambda: TEA)
    assert load_cached("tea", never) == TEA


def test_processes_may_make_the_same_collection_at_the_same_time(cache):
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(4), context.Queue()
    processes = [context.Process(target=load_in_process, args=(barrier, results)) for _ in range(4)]
    for process in processes:
        process.start()
    assert all(results.get(timeout=30) for _ in processes)
    for process in processes:
        process.join()
    assert load_cached("tea", never) == TEA
    assert [path.name for path in cache.parent.iterdir()] == ["tea"]


@pytest.mark.usefixtures("cache")
def test_another_process_that_was_faster_is_kept():
    def make_slowly():
        load_cached("tea", lambda: TEA)
        return TEA

    load_cached("tea", make_slowly)
    assert load_cached("tea", never) == TEA


def test_a_maker_that_fails_leaves_nothing_behind(cache):
    def fail():
        raise CollectionError("no tea")

    with pytest.raises(CollectionError, match="no tea"):
        load_cached("tea", fail)
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_is_refused_with_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path / "file"))
    with pytest.raises(CollectionError, match=r"cannot be written .*: set SWEEP_CACHE to a folder that can"):
        load_cached("tea", lambda: TEA)
