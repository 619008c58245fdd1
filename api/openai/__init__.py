"""The OpenAI wire format: files and batches, for clients that know nothing else. A batch is a job."""
