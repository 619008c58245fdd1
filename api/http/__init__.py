"""What every route shares of HTTP: bodies, errors, callers, conditional requests, bounds. Knows no resource."""
