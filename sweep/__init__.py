"""A hyperparameter sweep for retrieval embedding models that sees and stops the drop-off."""

__version__ = "0.1.0"
