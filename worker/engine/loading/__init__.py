"""From paths to an engine: devices, models in memory, and the proof that they are decoded exactly."""
