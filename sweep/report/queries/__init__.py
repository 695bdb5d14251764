"""The generated queries of a study for a person: what made them, and what each gate did."""
