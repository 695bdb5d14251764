"""The measures of a ranking, the score of a model over queries, and the geometry of embeddings: NumPy in, NumPy out."""
