"""Templates of pages: all text is escaped, and a page that is made needs no network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup


def load_template(
    package: str, name: str, *, filters: Mapping[str, Callable[..., Any]] | None = None
) -> jinja2.Template:
    """A template that lies in a package; a name that it is not given is an error.

    It imports the macros of another one by ``PACKAGE/NAME``.
    """
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=set_apart,
        keep_trailing_newline=True,
        loader=jinja2.FunctionLoader(lambda path: read_part(*path.split("/"))),
    )
    environment.filters |= filters or {}
    return environment.from_string(read_part(package, name))


def read_part(package: str, name: str) -> str:
    """A part of a page, such as its style, that lies in a package."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


def set_apart(value: object) -> object:
    """Text that is not ASCII, escaped and set apart from its surroundings in its direction of writing; else itself."""
    text = str(value)
    return value if hasattr(value, "__html__") or text.isascii() else Markup("<bdi>{}</bdi>").format(text)
