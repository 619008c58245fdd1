"""Guidance by a model with another tokenizer: it judges the texts that the base's candidates add, in its own tokens.

`docs/decisions/0024` says what the numbers mean. `Spelling` tells the bytes of the base's tokens, `Retokenizer` writes
texts in the guide's, `tree_of` lays the candidates' tokens out as a tree, and `TextRunner` runs it.
"""
