"""The demo's styles: how a user words each one, and the rule that says whether a text keeps it."""

from dataclasses import dataclass, field

from evaluation.rules import Check, Rule

CONCISE_WORDS = 20  # at most
DETAILED_WORDS = 45  # at least


@dataclass(frozen=True)
class DemoPrinciple:
    """Something a reader may ask for; `wordings[0]` is what the demo's profiles say.

    Those below are styles; `parts` has principles with a value.
    """

    name: str
    wordings: tuple[str, ...]
    rule: Rule
    value: str | None = None
    satisfies: Check = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "satisfies", self.rule.check())


def _contains(*phrases: str) -> Rule:
    return Rule(contains_any=phrases)


_FORMAL_PHRASE = _contains(
    "kindly",
    "we are pleased to",
    "we wish to",
    "we would like to inform",
    "please be advised",
    "it is recommended",
    "you are advised",
    "respectfully",
    "sincerely",
    "yours faithfully",
    "at your convenience",
    "with regard to",
)
_ACTION = r"(?:^|[.!?:] )(?:Book|Join|Reply|Tap|Sign up|Reserve|Register|Click|Download|Visit)\b"

PRINCIPLES: tuple[DemoPrinciple, ...] = (
    DemoPrinciple(
        "formal",
        ("formal", "a formal tone", "formal and polite"),
        Rule(all=(_FORMAL_PHRASE, Rule(not_contains=("!", "'")))),
    ),
    DemoPrinciple(
        "playful",
        ("playful", "a playful tone", "fun and playful"),
        _contains(
            "psst", "ta-da", "woohoo", "yay", "hooray", "drumroll", "whoop", "confetti", "high five", "happy dance"
        ),
    ),
    DemoPrinciple("concise", ("concise", "short and to the point", "keep it brief"), Rule(max_words=CONCISE_WORDS)),
    DemoPrinciple("detailed", ("detailed", "with full details", "thorough"), Rule(min_words=DETAILED_WORDS)),
    DemoPrinciple(
        "beginner",
        ("for beginners", "explain for a beginner", "easy for newcomers"),
        _contains(
            "no experience",
            "if you are new",
            "if this is new",
            "step by step",
            "your first time",
            "from scratch",
            "in plain words",
            "in simple words",
            "never tried",
        ),
    ),
    DemoPrinciple(
        "action",
        ("with a call to action", "end with a call to action", "say what to do next"),
        Rule(regex=_ACTION),
    ),
    DemoPrinciple("question", ("with a question", "ask me a question", "include a question"), _contains("?")),
    DemoPrinciple(
        "warm",
        ("warm", "a warm tone", "warm and kind"),
        _contains(
            "thank you",
            "so glad",
            "take good care",
            "take care",
            "means a lot",
            "by your side",
            "here for you",
            "grateful",
            "all our heart",
        ),
    ),
    DemoPrinciple(
        "urgent",
        ("urgent", "a sense of urgency", "urgent and pressing"),
        _contains(
            "last chance",
            "hurry",
            "right away",
            "do not wait",
            "hours left",
            "running out",
            "before midnight",
            "do not delay",
        ),
    ),
)
BY_NAME = {principle.name: principle for principle in PRINCIPLES}

# In the base model's corpus, and in no preference pair: what guidance does for them is generalisation.
UNSEEN = ("warm", "urgent")
SEEN = tuple(principle.name for principle in PRINCIPLES if principle.name not in UNSEEN)

# Pairs that no text can keep together.
EXCLUSIVE = (frozenset({"formal", "playful"}), frozenset({"concise", "detailed"}))


def compatible(names: frozenset[str]) -> bool:
    """Whether one text can keep all of them."""
    return not any(pair <= names for pair in EXCLUSIVE)


def kept(text: str) -> frozenset[str]:
    """The names of the styles that the text keeps."""
    return frozenset(principle.name for principle in PRINCIPLES if principle.satisfies(text))
