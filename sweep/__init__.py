"""A hyperparameter sweep for retrieval embedding models that sees and stops the drop-off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweep.study import open_study

__all__ = ["open_study"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Imports what is asked for when it is asked for, so that `import sweep` stays light."""
    if name == "open_study":
        from sweep.study import open_study

        return open_study
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
