"""What can be counted in a text without judging it. Text in, numbers out."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evaluation.rules import contains, num_words
from evaluation.texts import echoes, repetition
from examples.real_demo.readers import READERS, Written

PIRATE_WORDS = (
    *("arr", "arrr", "ahoy", "aye", "matey", "mateys", "ye", "yer", "captain", "crew", "pirate", "pirates"),
    *("treasure", "booty", "landlubber", "hearties", "sail", "ship", "sea", "seas"),
)
LOOP = 0.3
"""A text of which so large a share has been said before goes round in circles."""


def words_per_text(texts: Sequence[str]) -> float:
    """Mean number of words of a text."""
    return sum(map(num_words, texts)) / len(texts)


def words_per_sentence(texts: Sequence[str]) -> float:
    """Words per sentence, over all texts together."""
    return sum(map(num_words, texts)) / max(1, sum(map(_num_sentences, texts)))


def letters_per_word(texts: Sequence[str]) -> float:
    """Letters per word, over all texts together."""
    words = [word for text in texts for word in re.findall(r"[^\W\d_]+", text)]
    return sum(map(len, words)) / max(1, len(words))


def exclamation_marks(texts: Sequence[str]) -> float:
    """Mean number of exclamation marks of a text."""
    return sum(text.count("!") for text in texts) / len(texts)


def pirate_words(texts: Sequence[str]) -> float:
    """Share of the texts that have one."""
    return sum(contains(text, PIRATE_WORDS) for text in texts) / len(texts)


def greets_as_noor(texts: Sequence[str]) -> float:
    """Share of the texts that begin as hers do."""
    return sum(text.lstrip(" \"'*").lower().startswith("hey") for text in texts) / len(texts)


@dataclass(frozen=True)
class Counted:
    """What is counted in one reader's texts."""

    label: str
    """Whose wish it is about, and what is counted."""
    measure: Callable[[Sequence[str]], float]
    shown_as: str = "{:.1f}"

    def of(self, texts: Sequence[str]) -> str:
        """The count of these texts, as the table shows it."""
        return self.shown_as.format(self.measure(texts))


SHARE = "{:.0%}"
COUNTED: Mapping[str, Counted] = {
    "ana": Counted("formal: letters per word", letters_per_word),
    "ben": Counted("cheerful: exclamation marks per text", exclamation_marks),
    "jack": Counted("pirate: texts with such words", pirate_words, SHARE),
    "mia": Counted("child: words per sentence", words_per_sentence),
    "otto": Counted("short: words per text", words_per_text, "{:.0f}"),
    "noor": Counted('own texts: texts that begin with "hey"', greets_as_noor, SHARE),
}


def echoes_its_wish(written: Written) -> bool:
    """Whether the text repeats the wording of what it was to be like."""
    return any(echoes(written.text, principle, [written.prompt]) for principle in READERS[written.reader].principles)


def loops(written: Written) -> bool:
    """Whether much of the text has been said in it before."""
    return repetition(written.text) > LOOP


def _num_sentences(text: str) -> int:
    return len([part for part in re.split(r"[.!?]+(?:\s|$)|\n+", text) if num_words(part)])
