"""Training and evaluating one model: the only rooms that import torch."""
