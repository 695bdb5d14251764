"""The settings of a study: what its file says, its search space, and one point of that."""
