"""What the tokenizer files beside weights say of token ids: which there are, which are special, which end an answer.

Reads files and builds no tokenizer, except where a vocabulary is in a format that only its own reader knows.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any  # JSON

from transformers import AutoTokenizer
from transformers.utils.chat_template_utils import render_jinja_template

from worker.engine.checkpoints import files

_NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_QUESTION, _ANSWER = "a question", "an answer"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Token to id, and which of the tokens were added to those that were learnt."""

    ids: Mapping[str, int]
    added: frozenset[str]
    is_whole: bool = True
    """False where added tokens may be missing."""

    @property
    def size(self) -> int:
        """Number of ids: one more than the largest."""
        return max(self.ids.values(), default=-1) + 1


class TokenizerFiles:
    """The tokenizer of one model folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def exist(self) -> bool:
        """Whether there is anything that a tokenizer is read from."""
        return bool(files.tokenizer_files(self._folder))

    @cached_property
    def vocabulary(self) -> Vocabulary | None:
        """None where there is none, or none that can be read."""
        learnt = _learnt(self._fast) or self._json("vocab.json")
        if not all(isinstance(token_id, int) for token_id in learnt.values()):
            return None
        if not learnt:
            return self._foreign()
        added = self._added
        is_whole = bool(self._fast) or "added_tokens_decoder" in self._config
        return Vocabulary(learnt | added, frozenset(added), is_whole)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of tokens that control a model rather than spell text."""
        marked = {token["id"] for token in self._added_tokens if token.get("special")}
        named = {self._id(self._config.get(name) or self._map.get(name)) for name in _NAMED_TOKENS}
        return frozenset(marked | {token_id for token_id in named if token_id is not None})

    @cached_property
    def end_ids(self) -> frozenset[int]:
        """Tokens behind which an answer is over: the end of sequence, and what the chat template ends a turn with."""
        ends = {self._id(self._config.get("eos_token") or self._map.get("eos_token")), self._end_of_turn()}
        return frozenset(end for end in ends if end is not None)

    @cached_property
    def end_of_answer(self) -> int | None:
        """The one of them that the model itself writes behind an answer: the end of a turn, where it knows turns."""
        end = self._end_of_turn()
        return self._id(self._config.get("eos_token") or self._map.get("eos_token")) if end is None else end

    def _end_of_turn(self) -> int | None:
        """The special token that the chat template writes directly behind an assistant's words, if it writes one.

        Found by rendering a conversation, because names differ: <|im_end|>, <end_of_turn>, <|eot_id|>, </s>. White
        space between the two is skipped. Where text or a token that is not special comes first, there is no such token.
        """
        template = self._chat_template
        if template is None:
            return None
        turns = [{"role": "user", "content": _QUESTION}, {"role": "assistant", "content": _ANSWER}]
        named: dict[str, Any] = {
            name: _content(self._config.get(name) or self._map.get(name)) or "" for name in _NAMED_TOKENS
        }
        try:
            rendered = render_jinja_template([turns], chat_template=template, **named)[0][0]
        except Exception:  # noqa: BLE001 (a template that does not render is found where prompts are made)
            return None
        _, answer, behind = rendered.rpartition(_ANSWER)
        behind = behind.lstrip() if answer else ""
        fitting = [
            token for token in self._added_tokens if token.get("special") and behind.startswith(token["content"])
        ]
        return max(fitting, key=lambda token: len(token["content"]))["id"] if fitting else None

    @cached_property
    def _chat_template(self) -> str | None:
        beside = files.found(self._folder, "chat_template.jinja")
        if beside:
            return beside[0].read_text(encoding="utf-8", errors="replace")
        stated = self._config.get("chat_template") or self._json("chat_template.json").get("chat_template")
        if isinstance(stated, list):  # several, by name
            stated = next((entry.get("template") for entry in stated if entry.get("name") == "default"), None)
        return stated if isinstance(stated, str) else None

    @property
    def _added(self) -> dict[str, int]:
        of_list = {token["content"]: token["id"] for token in self._added_tokens}
        return of_list | self._json("added_tokens.json")

    @cached_property
    def _added_tokens(self) -> list[dict[str, Any]]:
        """As tokenizer.json lists them, or tokenizer_config.json by id."""
        listed = self._fast.get("added_tokens") or []
        by_id = self._config.get("added_tokens_decoder") or {}
        listed = [*listed, *({**token, "id": int(number)} for number, token in by_id.items())]
        return [token for token in listed if isinstance(token.get("id"), int) and token.get("content")]

    def _id(self, token: object) -> int | None:
        content, vocabulary = _content(token), self.vocabulary
        return None if content is None or vocabulary is None else vocabulary.ids.get(content)

    def _foreign(self) -> Vocabulary | None:
        """In a format that transformers has a reader for, if that is installed."""
        if not files.found(self._folder, *files.VOCABULARIES):
            return None
        try:
            tokenizer = AutoTokenizer.from_pretrained(self._folder, local_files_only=True, trust_remote_code=False)
            return Vocabulary(dict(tokenizer.get_vocab()), frozenset(tokenizer.get_added_vocab()))
        except Exception:  # noqa: BLE001 (readers of tokenizers have no common error)
            return None

    @cached_property
    def _fast(self) -> dict[str, Any]:
        return self._json("tokenizer.json")

    @cached_property
    def _config(self) -> dict[str, Any]:
        return self._json("tokenizer_config.json")

    @cached_property
    def _map(self) -> dict[str, Any]:
        return self._json("special_tokens_map.json")

    def _json(self, name: str) -> dict[str, Any]:
        """An object's members; none where the file is missing or holds something else."""
        try:
            content = json.loads((self._folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


def _learnt(fast: Mapping[str, Any]) -> dict[str, int]:
    """Token to id of a tokenizer.json, without the added tokens."""
    entries = (fast.get("model") or {}).get("vocab")
    if isinstance(entries, list):  # unigram models list (token, score) pairs; the index is the id
        return {entry[0]: index for index, entry in enumerate(entries)}
    return entries if isinstance(entries, dict) else {}


def _content(token: object) -> str | None:
    """The text of a token that is named, or described by an object."""
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else None


def why_unlike(base: TokenizerFiles, other: TokenizerFiles) -> str | None:
    """Why token ids may not mean the same to two models, if they may not."""
    if not (base.exist or other.exist):
        return None
    ours, theirs = base.vocabulary, other.vocabulary
    if not other.exist:
        return "it has no tokenizer files to compare: copy those that it was trained with beside its weights"
    if theirs is None:
        return "no vocabulary can be read from its tokenizer files: save the tokenizer again as tokenizer.json"
    if ours is None:
        return "no vocabulary can be read beside the base's weights: put its tokenizer.json there"
    missing = _missing(ours, theirs) or _missing(theirs, ours)
    return why_contradicting(ours, theirs) or (None if missing is None else f"their tokenizers differ: {missing}")


def why_contradicting(ours: Vocabulary, theirs: Vocabulary) -> str | None:
    """A sentence on a token that both have and number differently; None where there is none."""
    for token, number in theirs.ids.items():
        if ours.ids.get(token, number) != number:
            return f"their tokenizers differ: {token!r} is token {number} there and {ours.ids[token]} in the base"
    return None


def _missing(ours: Vocabulary, theirs: Vocabulary) -> str | None:
    """A token of ours that they lack, and that is not just left out of the file they were read from."""
    for token in ours.ids:
        if token not in theirs.ids and (theirs.is_whole or token not in ours.added):
            return f"only one of them has {token!r}"
    return None
