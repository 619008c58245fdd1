"""Finds how to steer a model: formats, strengths and budgets are tried on a few prompts, the choice is on its card."""
