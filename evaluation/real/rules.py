"""Rules for principles that are themselves rules, and for what may go wrong in a text: from words to a number.

No library and no model: what decides is on this page.
"""

import re
from collections.abc import Iterator, Sequence

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
_SENTENCE_END = re.compile(r"[.!?]+")
_FIRST_PERSON = frozenset({"i", "me", "my", "mine", "myself", "i'm", "i've", "i'll", "i'd"})
_SECOND_PERSON = frozenset({"you", "your", "yours", "yourself", "yourselves", "you're", "you've", "you'll", "you'd"})
# Of the word lists of Talk Like a Pirate Day, without what ordinary messages say, too (mate, port, captain, crew, me).
_PIRATE = frozenset(
    [
        *("ahoy", "arr", "arrr", "arrgh", "yarr", "aye", "avast", "matey", "mateys"),
        *("hearty", "hearties", "ye", "yer", "lad", "lads", "lass", "landlubber", "landlubbers"),
        *("scallywag", "scallywags", "buccaneer", "buccaneers", "pirate", "pirates", "cap'n", "ship", "ships"),
        *("sail", "sails", "sea", "seas", "sailor", "sailors", "treasure", "booty", "plunder"),
        *("doubloon", "doubloons", "rum", "grog", "plank", "anchor", "deck", "cutlass", "jolly"),
        *("roger", "shiver", "timbers", "davy", "kraken", "swashbuckling", "swashbuckler", "starboard", "blimey"),
        *("bucko", "savvy"),
    ]
)
ECHO = 4
"""Words in a row that a text shares with what it was told, and not with its prompt."""


def words(text: str) -> list[str]:
    """In lower case, without punctuation."""
    return [word.replace("\u2019", "'") for word in _WORD.findall(text.lower())]


def length(text: str) -> float:
    """Words."""
    return float(len(words(text)))


def closing_question(text: str) -> float:
    """1 where the text ends with a question mark."""
    return float(text.rstrip().rstrip("\"'\u201d\u2019)*").endswith("?"))


def first_person(text: str) -> float:
    """Words of a hundred that are I, me or my."""
    return _share(text, _FIRST_PERSON)


def second_person(text: str) -> float:
    """Words of a hundred that are you or your."""
    return _share(text, _SECOND_PERSON)


def pirate_words(text: str) -> float:
    """Words of a hundred that sailors in stories say."""
    return _share(text, _PIRATE)


def exclamation(text: str) -> float:
    """Ends of sentences of a hundred that have an exclamation mark."""
    ends = _SENTENCE_END.findall(text)
    return 100 * sum("!" in end for end in ends) / len(ends) if ends else 0.0


def repetition(text: str) -> float:
    """The share of runs of four words that stood in the text before."""
    runs = list(_runs(words(text), 4))
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def distinct(texts: Sequence[str]) -> float:
    """Different pairs of words among all pairs of words of the texts."""
    pairs = [pair for text in texts for pair in _runs(words(text), 2)]
    return len(set(pairs)) / len(pairs) if pairs else 1.0


def echoes(text: str, told: str, prompt: str) -> bool:
    """Whether the text says what it was told of the preference: four words in a row that are not in its prompt."""
    foreign = set(_runs(words(told), ECHO)) - set(_runs(words(prompt), ECHO))
    return bool(foreign & set(_runs(words(text), ECHO)))


def _runs(of: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    return (tuple(of[start : start + size]) for start in range(len(of) - size + 1))


def _share(text: str, chosen: frozenset[str]) -> float:
    found = words(text)
    return 100 * sum(word in chosen for word in found) / len(found) if found else 0.0
