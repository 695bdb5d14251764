"""A study's database: our tables, Optuna's as their mirror, and the lock on both."""
