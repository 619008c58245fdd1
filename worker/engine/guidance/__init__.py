"""From the logits of a slot's streams to its next token: candidates, rewards, budget, penalties, sampling."""
