"""The demo's story on a real instruction-tuned model, SmolLM2-135M: principles in anybody's words, and real text."""
