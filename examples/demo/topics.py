"""What the demo's messages are about: topics and names for training, and a disjoint set that training never sees."""

import random

from examples.demo.chance import happens
from examples.demo.principles import kept

TRAINING_TOPICS = (
    *("yoga class", "garden club", "team calendar", "library card", "coffee machine", "bike repair", "swimming lesson"),
    *("book club", "photo album", "recipe box", "piano lesson", "running plan", "language course", "parking permit"),
    *("water bill", "train ticket", "hotel booking", "lunch menu", "security camera", "smart lamp", "wireless speaker"),
    *("sewing machine", "kitchen scale", "travel insurance", "dental appointment", "vaccination record", "school trip"),
    *("parents evening", "choir practice", "football training", "tennis court", "climbing wall", "dance workshop"),
    *("cooking class", "wine tasting", "cheese shop", "bakery order", "vegetable box", "flower delivery", "pet food"),
    *("dog walk", "cat shelter", "bird feeder", "fish tank", "horse stable", "riding school", "ski pass", "boat tour"),
    *("museum visit", "art course", "film night", "theatre club", "concert ticket", "radio show", "news letter"),
    *("weather app", "map service", "note taking", "photo backup", "password manager", "video call", "voice mail"),
    *("mail server", "online shop", "payment app", "savings plan", "tax form", "budget sheet", "expense report"),
    *("meeting room", "desk booking", "office plant", "printer", "projector", "keyboard", "headset", "monitor"),
    *("laptop", "tablet", "phone contract", "charger", "battery pack", "solar panel", "heat pump", "water filter"),
    *("air purifier", "vacuum cleaner", "washing machine", "dishwasher", "oven", "freezer", "toaster", "blender"),
    *("rain jacket", "hiking boots", "running shoes", "winter coat", "sun hat", "backpack", "suitcase", "tent"),
    *("sleeping bag", "camping stove", "fishing rod", "skateboard", "scooter", "electric bike", "car sharing"),
    *("bus line", "night train", "airport shuttle", "ferry", "road trip", "city walk", "mountain hut", "beach house"),
    *("holiday flat", "guest room", "balcony garden", "compost bin", "lawn mower", "rain barrel", "tool shed"),
    *("wood stove", "paint set", "knitting group", "craft market", "flea market", "farmers market", "street fair"),
    *("charity run", "blood donation", "food bank", "neighbour help", "repair cafe", "mending evening", "swap shop"),
    *("first aid course", "fire drill", "safety check", "eye test", "hearing test", "fitness plan", "sleep diary"),
    *("meditation hour", "breathing exercise", "stretching routine", "physio session", "massage voucher", "sauna"),
    *("reading list", "spelling game", "maths homework", "science fair", "history podcast", "geography quiz"),
    *("writing course", "drawing lesson", "guitar lesson", "drum kit", "singing group", "brass band", "film camera"),
    *("board game", "card evening", "puzzle corner", "quiz night", "video game", "model railway", "kite day"),
    *("wedding plan", "birthday party", "gift card", "loyalty card", "member area", "customer survey", "feedback form"),
)
TRAINING_NAMES = (
    *("Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Hugo", "Iris", "Jonas", "Karin", "Leo", "Maria"),
    *("Nina", "Oscar", "Paula", "Quentin", "Rosa", "Simon", "Tara", "Ursula", "Victor", "Wendy", "Yusuf", "Zoe"),
    *("Amir", "Bianca", "Carlos", "Dunja", "Elif", "Farid", "Greta", "Hana", "Ivan", "Jasmin", "Kofi", "Lena"),
)
# No word of these occurs anywhere in training: not in a topic, not in a sentence, not in the tokenizer's corpus.
HELD_OUT_REAL = (
    *("sourdough", "telescope", "violin", "kayak", "greenhouse", "chessboard", "espresso grinder", "pottery wheel"),
    *("lighthouse", "origami", "trampoline", "beekeeping", "thermostat", "aquarium", "snorkel", "hammock"),
    *("fencing", "calligraphy", "drone", "microscope", "saxophone", "waffle iron", "terrarium", "sledge"),
    *("podium", "accordion", "juggling", "planetarium", "vineyard", "treehouse"),
)
HELD_OUT_NAMES = ("Mira", "Tobias", "Aiko", "Stella", "Nadia", "Emil")

_ONSETS: tuple[str, ...] = tuple("bdfghjklmnprstvwz")
_CLUSTERS: tuple[str, ...] = (
    "br",
    "dr",
    "fl",
    "gl",
    "gr",
    "kl",
    "kr",
    "pl",
    "pr",
    "sk",
    "st",
    "tr",
    "qu",
    "sh",
    "ch",
    "",
)
_VOWELS: tuple[str, ...] = (*"aeiou", "a", "e", "i", "o", "u", "ee", "oo", "ai", "ou", "ia", "y")
_LINKS: tuple[str, ...] = ("", "", "", *"nrlm")
_CODAS: tuple[str, ...] = ("", "", "", *"nrlmstkpdgx", "nd", "rt", "lk", "sh", "ng", "th", "ff", "ck")
_MIN_LENGTH = 4
_HELD_OUT_LENGTHS = range(5, 11)
_HEADS = ("club", "course", "app", "plan", "service", "shop", "kit", "lesson", "market", "order", "card", "machine")


def invented_word(rng: random.Random) -> str:
    """A made-up word of two or three syllables that can be said aloud."""
    first = [_syllable(rng, _LINKS) for _ in range(rng.choice((1, 1, 1, 2)))]
    return "".join(first) + _syllable(rng, _CODAS)


def _syllable(rng: random.Random, ends: tuple[str, ...]) -> str:
    return rng.choice(_ONSETS + _CLUSTERS) + rng.choice(_VOWELS) + rng.choice(ends)


def _held_out_invented(num_words: int, seed: str = "held-out words") -> tuple[str, ...]:
    rng = random.Random(seed)
    words: list[str] = []
    while len(words) < num_words:
        word = invented_word(rng)
        if len(word) in _HELD_OUT_LENGTHS and word not in words:
            words.append(word)
    return tuple(words)


_REAL_WORDS = tuple(sorted({word for topic in TRAINING_TOPICS for word in topic.split()}))
HELD_OUT_INVENTED = _held_out_invented(60)
HELD_OUT_TOPICS = (*HELD_OUT_REAL, *HELD_OUT_INVENTED)
HELD_OUT_THINGS = (
    *("umbrella", "lemonade", "compass", "lantern", "marmalade", "ladder", "blanket", "candle", "orchestra", "bonfire"),
    *_held_out_invented(12, "held-out things"),
)
_HELD_OUT_WORDS = frozenset(
    word.lower() for phrase in (*HELD_OUT_TOPICS, *HELD_OUT_THINGS, *HELD_OUT_NAMES) for word in phrase.split()
)


def training_topic(rng: random.Random) -> str:
    """A topic for training: a real noun phrase, a made-up word, or a mixture of both; none keeps a style by itself."""
    if happens(rng, 0.2):
        return rng.choice(TRAINING_TOPICS)
    while True:
        word = _training_word(rng)
        shapes = (word, word, word, word.capitalize(), f"{word} {rng.choice(_HEADS)}", f"{_training_word(rng)} {word}")
        topic = rng.choice(shapes)
        if _keeps_no_style(topic):
            return topic


def training_name(rng: random.Random) -> str:
    """A first name for training, real or made up; none keeps a style by itself."""
    if happens(rng, 0.3):
        return rng.choice(TRAINING_NAMES)
    while True:
        name = _training_word(rng).capitalize()
        if _keeps_no_style(name):
            return name


def _keeps_no_style(words: str) -> bool:
    """Whether they keep what any few words keep, and no more: made-up words can be real ones, "hurry" or "yay"."""
    return kept(words) == kept("topic")


def _training_word(rng: random.Random) -> str:
    while True:
        word = invented_word(rng) if happens(rng, 0.5) else _spliced_word(rng)
        if len(word) >= _MIN_LENGTH and word not in _HELD_OUT_WORDS:
            return word


def _spliced_word(rng: random.Random) -> str:
    """The start of one real word and the end of another ("gardlight"): made up, of pieces that real words have."""
    start, end = rng.choice(_REAL_WORDS), rng.choice(_REAL_WORDS)
    return start[: rng.randint(2, max(2, len(start) - 2))] + end[rng.randint(1, max(1, len(end) - 3)) :]
