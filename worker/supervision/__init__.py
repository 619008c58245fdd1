"""The engine's process, and the thread that feeds it, watches it and finds what broke it."""
