"""One PersRM that steers bases with other tokenizers, beside the way that PAD's released code takes."""
