"""Training and judging one model: the only rooms that import torch."""
