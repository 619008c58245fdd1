"""Values that API, database and worker share: preferences, sampling, states. No table, no tensor."""
