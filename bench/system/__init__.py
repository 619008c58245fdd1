"""The whole system but for the model: what orchestration costs, from a submission to the last result."""
