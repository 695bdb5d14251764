"""When a run is stopped before its budget is spent."""
