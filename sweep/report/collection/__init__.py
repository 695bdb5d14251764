"""The collection of a study for a person: what is evaluated on, what is trained on, and what is left out."""
