"""What a study leaves in its database: Optuna's tables, our own beside them, and the lock on both."""
