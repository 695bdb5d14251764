"""The generators of queries, one file each, found by their names: documents in, queries out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny, ValidationError

from sweep.data.generators.generator import Generator
from sweep.settings.entries import load_entries

GENERATORS = load_entries("sweep.data.generators", Generator)
"""Every generator by its name in study files."""


def as_generator(value: Any) -> Any:
    """The generator that a study file names, or that a table with its ``name`` and its options describes.

    Raises:
        ValueError: If there is no such generator, or an option is unknown or invalid.
    """
    if isinstance(value, Generator):
        return value
    options = dict(value) if isinstance(value, Mapping) else {"name": value}
    name = options.pop("name", None)
    if name not in GENERATORS:
        raise ValueError(f"must name a generator ({', '.join(sorted(GENERATORS))}), got {name!r}")
    try:
        return GENERATORS[name].model_validate(options)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(map(str, problem["loc"]))
        fields = GENERATORS[name].model_fields.items()
        known = ", ".join(field.alias or key for key, field in fields) or "none"
        what = f"has options: {known}" if problem["type"] == "extra_forbidden" else problem["msg"]
        raise ValueError(f"{name}{f': {where}' if where else ''}: {what.removeprefix('Value error, ')}") from None


AnyGenerator = Annotated[SerializeAsAny[Generator], BeforeValidator(as_generator)]
"""A generator as a field of a table."""
