"""Rules that stop a run before its budget is spent."""
