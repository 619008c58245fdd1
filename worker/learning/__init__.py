"""Learning a profile's weights from pairs of texts."""
