"""The mechanisms by which a guide judges texts in tokens of its own, each as a change that takes it away."""

from collections.abc import Mapping

from tests.mutations.mechanisms import Mechanism

_FOLDER = "worker/engine/cross_tokenizer"
_TESTS = "tests/engine/cross_tokenizer"
_TOKENS = f"{_TESTS}/test_retokenizing.py"
_ADDED = f"{_TESTS}/test_texts.py"
_GUIDED = f"{_TESTS}/test_guidance.py"
_CONTEXTS = f"{_TESTS}/test_contexts.py"


def _without(file: str, tests: tuple[str, ...], changes: Mapping[str, tuple[str, str]]) -> tuple[Mechanism, ...]:
    """Mechanisms of one file by name: what is there, and what takes its place."""
    return tuple(Mechanism(name, f"{_FOLDER}/{file}", (change,), tests) for name, change in changes.items())


_CUTS = _without(
    "cuts.py",
    (_TOKENS,),
    {
        "no cut where a token reaches over words": ("cls(not over_words and bear", "cls(bear"),
        "no cut before the last letter": (" and _is_unspaced(behind)", ""),
        "no cut behind a letter with capitals": ("(_is_unspaced(before) or _is_mark(before))", "True"),
        "no cut that normalization reaches over": ("self._normalize(around) == around and ", ""),
        "three letters of a syllable": ("max(0, place - 2)", "place - 1"),
        "no cut within what a token may hold": (" and not self._may_be_joined(before.encode(), here.encode())", ""),
        "cuts are borne out by probes": ("return all(tokenize(probe)", "return True or all(tokenize(probe)"),
    },
)

_SPELLING = _without(
    "spelling.py",
    (
        _ADDED,
        f"{_TOKENS}::test_tokens_spell_the_text_that_they_were_made_of",
        f"{_TOKENS}::test_added_tokens_spell_what_they_are_written_as",
        f"{_TOKENS}::test_a_tokenizer_that_rewrites_what_it_decodes_is_not_spelt",
    ),
    {
        "control tokens spell nothing": (" if token_id not in silent}", "}"),
        "a first space that is none": ("if at_start and self._drops_first_space else", "if False else"),
        "tokens that are a byte": ("if self._has_bytes and len", "if False and len"),
        "added tokens as they are written": ("token.encode() if None in spelt else ", ""),
        "a tokenizer that rewrites is not spelt": ("!= decoded:", "is None:"),
        "bytes that no character can hold": ('("utf-8")("replace")', '("utf-8")("ignore")'),
    },
)

_RETOKENIZING = _without(
    "retokenizing.py",
    (_ADDED, _TOKENS),
    {
        "text that spells a control token": ("        tokenizer.encode_special_tokens = True\n", ""),
        "whole texts, however long": ("        tokenizer.no_truncation()\n", ""),
        "nothing but the text": ("        tokenizer.no_padding()\n", ""),
        "no beginning of its own": ("add_special_tokens=False", "add_special_tokens=True"),
        "a cut is checked where it is made": ("if whole == before + behind else", "if True else"),
        "added tokens that take spaces with them": ("token.lstrip or token.rstrip or token.single_word", "False"),
        "half a character waits": ("complete(self._held + spelling", "complete(spelling"),
        "where a text begins": ("at_start=not self._has_begun", "at_start=False"),
        "a token without text begins none": ("bool(spelling.spelt([token_id], at_start=False))", "True"),
        "what is settled is kept": ("self._settled += tokens", "self._settled = [*tokens]"),
    },
)

_OF_REQUESTS = _without(
    "texts.py",
    (_ADDED,),
    {
        "the guide's own end": ("or token_id not in self.crossing.ends else (end,)", "or True else (end,)"),
        "a guide without an end": ("() if end is None or token_id", "() if token_id"),
        "the end of a given text": ("[0] + self.end_of(token_ids[-1])", "[0]"),
        "a request's text is forgotten with it": ("self._texts.pop(request_id, None)", "pass"),
    },
)

_TREES = _without(
    "trees.py",
    (
        f"{_TOKENS}::test_a_tree_has_every_token_of_every_candidate_behind_the_right_ones",
        f"{_TOKENS}::test_the_head_is_spared_only_where_every_candidate_has_a_token_there",
    ),
    {
        "back to the longest common beginning": ("len(common_prefix([tuple(held), chain]))", "len(held)"),
        "the last of what is shared is run": (", len(chain) - 1)", ", len(chain))"),
        "a shared beginning once": ("children.get((node, token_id))", "None"),
        "the first candidate's tokens are held": ("(*chain, *first_path))", "(*chain,))"),
        "and no other candidate's": ("child == root + 1 + len(first_path) and node == child - 1", "node == child - 1"),
        "where a branch stands in its text": ("positions.append(len(chain) + depth)", "positions.append(len(tokens))"),
        "the head for who has no token of its own": ("firsts if len(firsts) == num_candidates else ()", "firsts"),
    },
)

_ROWS = (
    *_without(
        "trees.py",
        (_GUIDED,),
        {
            "siblings do not see each other": (
                "[*(seen[parent] if parent is not None else ()), node]",
                "[*range(node + 1)]",
            )
        },
    ),
    *_without(
        "runner.py",
        (_GUIDED, _CONTEXTS),
        {
            "a text that outgrows its guide": (" if max(tree.positions) < self.max_length else None", ""),
            "what was to be run is not held": ("tree.held[: tree.start]", "tree.held"),
            "a row is forgotten with its request": (
                "super()._release(request_ids, scrub=scrub)\n        self._forget(request_ids)",
                "super()._release(request_ids, scrub=scrub)",
            ),
        },
    ),
    Mechanism(
        "a bound of what a guide judges",
        "worker/engine/validation.py",
        (("request.k > MOST_JUDGED", "False"),),
        (f"{_CONTEXTS}::test_more_candidates_than_branches_are_refused",),
    ),
)

TEXTS = (*_CUTS, *_SPELLING, *_RETOKENIZING, *_OF_REQUESTS, *_TREES, *_ROWS)
