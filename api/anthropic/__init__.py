"""The Anthropic wire format: message batches and messages, for clients that know nothing else. A batch is a job."""
