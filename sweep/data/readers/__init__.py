"""The readers of collections, one file each; `sweep.data.sources` finds them here by their schemes."""
