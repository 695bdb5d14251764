"""The only writer of a study while it runs."""
