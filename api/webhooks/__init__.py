"""Webhooks: telling a tenant's own server what has happened, as Standard Webhooks has it."""
