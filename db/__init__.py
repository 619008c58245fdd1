"""The database: tables, states, sessions and every query. Imports nothing else of this project."""
