"""Benchmarks of the decoding engine. They need torch, transformers and peft, and nothing else of this project."""
