"""What stands in for transformers' layers: attention over the row cache, adapters on some tokens, step kernels."""
