"""A tiny base and a guide whose tokenizers differ, trained on a page of text each; and the oracle of such a pair."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from tests.engine.models import peft_on_newer_transformers, read, save, save_adapter, tiny
from tests.engine.oracle import Oracle, uncached
from worker.engine import Stream

END = "<end>"
ENGLISH = (
    "The letter was short. It said that the tea had gone cold, and that nobody in the house would mind it now. " * 4
)
MIXED = "the the then that hat at a  \n\n ที่นี่ ที่ กขค 日本語 🙂🙂 straße it's isn't gone, now! 123 12345 " * 4


@dataclass(frozen=True, slots=True)
class Pair:
    """The folders of a base and of a guide: an adapter on a reference with another tokenizer."""

    base: str
    policy: str
    reference: str


def bytes_bpe(text: str, vocab_size: int) -> Tokenizer:
    """Any text in tokens of one byte and more, as GPT-2's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=alphabet, special_tokens=[END], show_progress=False
    )
    tokenizer.train_from_iterator([text], trainer)
    return tokenizer


def save_with_tokenizer(model: PreTrainedModel, tokenizer: Tokenizer, folder: Path) -> str:
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END).save_pretrained(save(model, folder))  # type: ignore[no-untyped-call]  # transformers'
    return str(folder)


def save_pair(folder: Path, kind: str = "gpt2") -> Pair:
    """A Llama that is guided by an adapted model of this kind."""
    of_base, of_guide = bytes_bpe(ENGLISH, 300), bytes_bpe(MIXED, 330)
    base = tiny("llama", seed=0, vocab_size=of_base.get_vocab_size(), eos_token_id=of_base.token_to_id(END))

    def guide() -> PreTrainedModel:
        return tiny(kind, seed=2, vocab_size=of_guide.get_vocab_size(), eos_token_id=of_guide.token_to_id(END))

    return Pair(
        base=save_with_tokenizer(base, of_base, folder / "base"),
        policy=save_adapter(guide(), folder / "policy", seed=1),
        reference=save_with_tokenizer(guide(), of_guide, folder / "reference"),
    )


class CrossOracle(Oracle):
    """Every candidate's whole text, tokenized as a whole and run from its beginning, in float64."""

    def __init__(self, pair: Pair) -> None:
        self._of_base, self._of_guide = tokenizer_of(pair.base), tokenizer_of(pair.reference)
        end = id_of_end(self._of_base)
        with peft_on_newer_transformers():
            adapted = PeftModel.from_pretrained(read(pair.reference), pair.policy).double()
        super().__init__({"base": uncached(read(pair.base))}, end)
        self.guides: dict[str, PreTrainedModel | PeftModel] = {
            "policy": adapted,
            "reference": read(pair.reference).double(),
        }
        self._likelihoods: dict[tuple[str, tuple[int, ...], tuple[int, ...]], float] = {}

    def logits(self, stream: Stream, token_ids: Sequence[int]) -> Sequence[float]:
        if stream.weights == "base":
            return super().logits(stream, token_ids)
        return _Judged(self, stream, tuple(token_ids))

    def likelihood(self, stream: Stream, token_ids: tuple[int, ...]) -> float:
        """The log-probability of the text of some tokens of the base under a guide."""
        ends = self._end in token_ids
        spelt = b"".join(
            bytes(map(letters().index, self._of_base.id_to_token(a) or "")) for a in token_ids if a != self._end
        )
        text = self._of_guide.encode(whole_characters(spelt), add_special_tokens=False).ids
        text += [id_of_end(self._of_guide)] if ends else []
        key = (stream.weights, stream.prompt, tuple(text))
        if key not in self._likelihoods:
            self._likelihoods[key] = self._run(stream, text)
        return self._likelihoods[key]

    @torch.no_grad()
    def _run(self, stream: Stream, text: list[int]) -> float:
        guide = self.guides[stream.weights]
        logits: Tensor = guide(input_ids=torch.tensor([[*stream.prompt, *text]]), use_cache=False).logits
        likely = logits[0].log_softmax(-1)
        return sum(float(likely[len(stream.prompt) + place - 1, token]) for place, token in enumerate(text))


class _Judged(Sequence[float]):
    """In the place of logits: how likely the whole text is with a token of the base behind it."""

    def __init__(self, oracle: CrossOracle, stream: Stream, before: tuple[int, ...]) -> None:
        self._oracle, self._stream, self._before = oracle, stream, before

    def __getitem__(self, token_id: int) -> float:  # type: ignore[override]  # no slices
        return self._oracle.likelihood(self._stream, (*self._before, token_id))

    def __len__(self) -> int:
        raise NotImplementedError


def tokenizer_of(folder: str) -> Tokenizer:
    tokenizer: Tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    tokenizer.encode_special_tokens = True
    return tokenizer


def id_of_end(tokenizer: Tokenizer) -> int:
    token_id = tokenizer.token_to_id(END)
    assert token_id is not None
    return token_id


def letters() -> list[str]:
    """How GPT-2's vocabulary writes each byte."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return [chr(byte) if byte in shown else chr(0x100 + hidden.index(byte)) for byte in range(256)]


def whole_characters(spelt: bytes) -> str:
    """Without the beginning of a character at the end."""
    for length in range(1, min(4, len(spelt) + 1)):
        try:
            spelt[-length:].decode()
        except UnicodeDecodeError as error:
            if error.reason == "unexpected end of data" and error.start == 0:
                return spelt[:-length].decode(errors="replace")
    return spelt.decode(errors="replace")
