"""The worker: claims items, has them decoded and saves the results."""
