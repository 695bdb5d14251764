"""`package:aws-cli`: a collection made out of the documentation in two installed Apache-2.0 packages.

Documents are the operations of the services that botocore describes; queries are the headings that documentation
writers gave to the examples of awscli, each relevant to the operation that its example runs. Nothing is imported or run
from the packages: their files are read. The result is cached per user; its text is never part of this project.
"""

from __future__ import annotations

import gzip
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata, util
from pathlib import Path

from sweep.data.cache import load_cached
from sweep.data.collection import Document, RawCollection
from sweep.data.readers.reader import Reader
from sweep.errors import CollectionError

RECIPE = 1
"""Version of what this module makes out of the packages; a change here makes every cache anew."""

MIN_DOCUMENT_WORDS = 10
"""Shorter documentation ("Deletes the tag.") says no more than the operation's name."""

MIN_QUERY_WORDS = 3
"""Shorter headings ("Output", "Example 1") ask for nothing."""

_SERVICES = {"s3api": "s3", "configservice": "config", "deploy": "codedeploy"}
"""Services that awscli renames (every call of `rename_command` in awscli.customizations), to botocore's names."""

_COMMANDS = {
    ("rds", "add-option-to-option-group"): "rds.ModifyOptionGroup",
    ("rds", "remove-option-from-option-group"): "rds.ModifyOptionGroup",
}
"""Commands that awscli itself builds on one operation of another name (awscli.customizations.rds)."""

_Operations = Mapping[tuple[str, str], str]

_HEADING = re.compile(r"^\*\*(.+?)\*\*\s*$", re.MULTILINE)
_EXAMPLE_NUMBER = re.compile(r"^(?:example\s*\d*\s*[:.]|\d+\.)\s*", re.IGNORECASE)
_COMMAND = re.compile(r"\baws +([a-z0-9-]+) +([a-z0-9-]+)")
_INLINE_TAG = re.compile(r"</?(?:a|b|code|em|i|link|strong)\b[^>]*>")
_TAG = re.compile(r"<[^>]+>")


class AwsCli(Reader):
    """``package:aws-cli``: made out of two installed packages, and cached."""

    name = "package"
    usage = "package:aws-cli"

    def read(self, source: str, *, folder: Path) -> RawCollection:  # noqa: ARG002 - no path of the study's is read
        """Loads the collection, whose judgements are one set without splits."""
        if source != "aws-cli":
            raise CollectionError(f"there is no packaged collection {source!r}; known is {self.usage}")
        return load_aws_cli()


def load_aws_cli() -> RawCollection:
    """The collection, from the user's cache, or made out of the installed packages and then cached.

    Documents have ids such as ``s3.CreateBucket`` (the title is the service's full name), queries ids such as
    ``s3.CreateBucket#2``; there is one set of judgements without splits, every grade 1.

    Raises:
        CollectionError: If a package is not installed, is not laid out as expected, or the cache cannot be written.
    """
    folders = {package: _find_package(package) for package in ("awscli", "botocore")}
    versions = "-".join(f"{package}-{metadata.version(package)}" for package in folders)
    return load_cached(
        f"aws-cli-recipe-{RECIPE}-{versions}",
        lambda: make_aws_cli(folders["awscli"] / "examples", folders["botocore"] / "data"),
    )


def make_aws_cli(examples: Path, services: Path) -> RawCollection:
    """Documents, queries and the judgements, under the name ``judged``, out of the packages' files.

    Args:
        examples: awscli's folder of examples, with ``SERVICE/COMMAND.rst``.
        services: botocore's folder of services, with ``SERVICE/VERSION/service-2.json`` (or ``.gz``).

    Raises:
        CollectionError: If the folders do not hold both operations and examples of them.
    """
    operations = dict(_read_operations(services))
    described = {name for name, page in operations.items() if len(page.text.split()) >= MIN_DOCUMENT_WORDS}
    known = _index_operations(operations)
    judged: dict[str, set[str]] = {}
    first_written: dict[str, str] = {}
    for file in sorted(examples.glob("*/*.rst")):
        for heading, operation in _read_examples(file, known):
            if operation in described:
                # An uncased model reads two spellings as one query.
                judged.setdefault(heading.casefold(), set()).add(operation)
                first_written.setdefault(heading.casefold(), heading)
    documents = {name: operations[name] for name in sorted(described)}
    if not judged:
        raise CollectionError(f"{services} and {examples} do not hold operations and examples of them")
    ids = _number_queries(judged)
    queries = {ids[key]: first_written[key] for key in ids}
    qrels = {ids[key]: dict.fromkeys(sorted(judged[key]), 1) for key in ids}
    return RawCollection(documents, queries, {"judged": qrels})


def _index_operations(identifiers: Iterable[str]) -> _Operations:
    """Operations such as ``s3.CreateBucket`` by service and name, in which awscli drops case and adds hyphens."""
    split = ((identifier, *identifier.split(".", 1)) for identifier in identifiers)
    return {(service, name.lower()): identifier for identifier, service, name in split}


def _find_operation(operations: _Operations, service: str, command: str) -> str | None:
    """The operation behind ``aws SERVICE COMMAND``; None where that is a command of awscli's own."""
    if (service, command) in _COMMANDS:
        return _COMMANDS[service, command]
    return operations.get((_SERVICES.get(service, service), command.replace("-", "")))


def _read_operations(services: Path) -> Iterator[tuple[str, Document]]:
    """Id and document of every operation in the newest version of every service, however short."""
    for folder in sorted(services.glob("*/")):
        versions = [*folder.glob("*/service-2.json"), *folder.glob("*/service-2.json.gz")]
        if not versions:
            continue
        newest = max(versions, key=lambda file: file.parent.name)
        raw = newest.read_bytes()
        service = json.loads(gzip.decompress(raw) if newest.suffix == ".gz" else raw)
        title = str(service["metadata"].get("serviceFullName") or service["metadata"]["serviceId"])
        for name, operation in service["operations"].items():
            yield f"{folder.name}.{name}", Document(title=title, text=_plain(operation.get("documentation", "")))


def _plain(documentation: str) -> str:
    """HTML -> text on one line; a tag within a sentence leaves no gap, any other ends a word."""
    return " ".join(html.unescape(_TAG.sub(" ", _INLINE_TAG.sub("", documentation))).split())


def _read_examples(file: Path, known: _Operations) -> Iterator[tuple[str, str]]:
    """(heading, operation) of every example in a file that runs an operation."""
    named = _find_operation(known, file.parent.name, file.stem)
    _, *parts = _HEADING.split(file.read_text(encoding="utf-8"))  # the preamble, then heading and example in turn
    for heading, example in zip(parts[::2], parts[1::2], strict=True):
        query = _clean_heading(heading)
        run = {_find_operation(known, *command) for command in _COMMAND.findall(example)}
        operation = _find_misnamed(file, run) if named is None else named
        # An example that runs other operations, and not the one of its file, is left out: either may be the slip.
        contradicted = operation not in run and run != {None} and bool(run)
        if operation is None or contradicted:
            continue
        if len(query.split()) >= MIN_QUERY_WORDS and not query.startswith("Note:"):
            yield query, operation


def _find_misnamed(file: Path, run: set[str | None]) -> str | None:
    """The operation of an example whose file lies under another service, or is not quite named after a command.

    The example must run one operation and nothing else, and its verb must be the file's: one file that is named after
    a deregistering runs a registering.
    """
    if len(run) != 1 or (operation := next(iter(run))) is None:
        return None
    verb, _, _ = file.stem.partition("-")
    return operation if operation.split(".")[1].lower().startswith(verb) else None


def _clean_heading(heading: str) -> str:
    """The heading without its example number, its closing colon or full stop, and its markup of code."""
    heading = " ".join(heading.replace("`", "").split())
    return _EXAMPLE_NUMBER.sub("", heading).rstrip(" :.")


def _number_queries(judged: Mapping[str, set[str]]) -> dict[str, str]:
    """Query id by heading: the first of its operations and a number from 1, in the order in which they were found."""
    counts: dict[str, int] = {}
    ids: dict[str, str] = {}
    for heading, operations in judged.items():
        first = min(operations)
        counts[first] = counts.get(first, 0) + 1
        ids[heading] = f"{first}#{counts[first]}"
    return dict(sorted(ids.items(), key=lambda item: item[1]))


def _find_package(package: str) -> Path:
    """Folder of an installed package, without importing it."""
    spec = util.find_spec(package)
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise CollectionError(
            f"package:aws-cli is made out of {package}, which is not installed:"
            f' pip install "retrieval-sweep[quickstart]"'
        )
    return Path(next(iter(spec.submodule_search_locations)))
