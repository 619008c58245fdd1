"""How far a text keeps a principle, as a number: the judges that make the pairs.

Word lists and counts written for this purpose. The evaluation judges with other people's code, none of which is used
here: what a policy learnt from these judges is not measured by them.
"""

import re
from collections.abc import Callable

Judge = Callable[[str], float]

_WORD = re.compile(r"[a-z]+(?:['\u2019][a-z]+)?")
_SENTENCE_END = re.compile(r"[.!?]+(?=\s|$)")


def words(text: str) -> list[str]:
    """Lower-case words in order."""
    return _WORD.findall(text.lower())


def share(listed: str) -> Judge:
    """How many of 100 words are listed; an entry that ends in * stands for every word that begins so."""
    entries = listed.split()
    exact = {entry for entry in entries if not entry.endswith("*")}
    stems = tuple(entry[:-1] for entry in entries if entry.endswith("*"))

    def judge(text: str) -> float:
        found = words(text)
        hits = sum(word in exact or (bool(stems) and word.startswith(stems)) for word in found)
        return 100 * hits / max(len(found), 20)

    return judge


def pattern(expression: str, most: int = 4) -> Judge:
    """How often the expression is found, counted up to `most`: more of it is not better."""
    compiled = re.compile(expression, re.IGNORECASE | re.MULTILINE)
    return lambda text: float(min(len(compiled.findall(text)), most))


def total(*parts: tuple[float, Judge]) -> Judge:
    """A weighted sum of judges."""
    return lambda text: sum(weight * judge(text) for weight, judge in parts)


def num_words(text: str) -> float:
    """The text's length."""
    return float(len(words(text)))


def mean_word_length(text: str) -> float:
    """Letters per word."""
    found = words(text)
    return sum(map(len, found)) / max(len(found), 1)


def mean_sentence_length(text: str) -> float:
    """Words per sentence."""
    return len(words(text)) / max(len(_SENTENCE_END.findall(text)), 1)


def long_words(text: str) -> float:
    """How many of 100 words have nine letters or more."""
    found = words(text)
    return 100 * sum(len(word) >= 9 for word in found) / max(len(found), 20)  # noqa: PLR2004


def ends_with(mark: str) -> Judge:
    """1 where the text's last sentence ends so."""
    return lambda text: float(text.rstrip(" \n\"'*)").endswith(mark))


contractions = pattern(r"\b\w+['\u2019](?:s|re|ve|ll|d|m|t)\b", most=6)
exclamations = pattern(r"!", most=5)

positive = share(
    "good great best better love loved lovely enjoy* happy happi* joy* delight* wonderful "
    "beautiful* bright* fresh perfect* excellent amazing exciting excit* welcome* favourite "
    "favorite fun warm* friendly helpful safe* thrill* glad pleas* proud success* improv* "
    "benefit* easy healthy comfort* inspir* fantastic brilliant treat smile* kind gorgeous "
    "charming ideal rich generous grateful thank* celebrat* cheer* hope* special superb"
)
negative = share(
    "bad worse worst poor* hate* terrible awful horribl* sad sadly unfortunate* fail* failure "
    "problem* disappoint* annoy* boring dull ugly dirty danger* risk* pain* hurt* loss lost "
    "lose wrong useless waste* broken weak cost* expensive difficult* hard trouble* regret* "
    "worr* fear* angry complain* mistake* lack* unpleasant dread* damage* threat* harm* mess "
    "doom* miserabl* never struggl* frustrat*"
)
slang = share(
    "hey hi yeah yep nah gonna wanna gotta kinda sorta cool awesome guys folks stuff super "
    "totally lol okay ok dude buddy grab chill pretty bunch tons cuz y'all crazy"
)
ceremony = share(
    "please kindly dear sincerely hereby pleased regard* respectful* furthermore moreover "
    "therefore accordingly assist* provid* request* inform* esteemed valued shall upon hence "
    "thus additional* appreciat* ensur* regarding convenience formal* obtain* require* notif*"
)
