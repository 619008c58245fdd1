"""A personalised reward model for SmolLM2-135M-Instruct: prompts, principles, pairs, their judges, and the recipe."""
