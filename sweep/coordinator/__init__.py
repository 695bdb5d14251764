"""The one that owns a study while it runs."""
