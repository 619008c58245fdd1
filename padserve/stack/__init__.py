"""The local stack: Redis, API and workers as child processes over one data folder, and what they need."""
