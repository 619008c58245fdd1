"""Rules for principles that are themselves rules: from words to a number.

No library and no model: what decides is on this page.
"""

import re

from evaluation.texts import words

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


def length(text: str) -> float:
    """The number of words."""
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


def _share(text: str, chosen: frozenset[str]) -> float:
    found = words(text)
    return 100 * sum(word in chosen for word in found) / len(found) if found else 0.0
