"""A seeded simulation of many tenants at the real claim statements."""
