"""Guidance by a model with another tokenizer: it judges the texts that the base's candidates add, in its own tokens.

What the numbers mean is `docs/decisions/0024`. `Spelling` says which bytes a token of the base stands for, `Retokenizer`
writes texts in the guide's tokens, `Continuations` lays the candidates' tokens out as a tree, and `TextRunner` runs it.
"""
