"""Tables as CSV: rows by the names in their header, and what a cell says."""
