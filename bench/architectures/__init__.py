"""Which architectures the engine decodes exactly: each that transformers has, tiny, against its own plain forward."""
