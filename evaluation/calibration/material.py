"""What texts are written for: a few prompts, a few principles, and rules where a suite has them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evaluation.suite import Split, Suite

PROMPTS = (
    "Write a short message that reminds a customer of an appointment tomorrow at ten.",
    "Tell a new subscriber what our weekly newsletter is about.",
    "Explain to a reader why leaves change colour in autumn.",
    "Write a few sentences that advertise a lightweight travel umbrella.",
    "Let a customer know that their order will arrive two days late.",
    "Describe a quiet weekend by the sea for a travel blog.",
)
PRINCIPLES = (
    "very formal",
    "cheerful and enthusiastic",
    "simple words for a child",
    "like a pirate",
    "short and matter-of-fact",
    "poetic",
)
MOST_PROMPTS = 8
"""Of a suite: more would take longer than a calibration is worth."""
MOST_PRINCIPLES = 8


@dataclass(frozen=True, slots=True)
class Wish:
    """A principle in a user's words, and the rule that checks it where there is one."""

    principle: str
    check: Callable[[str], bool] | None = None


@dataclass(frozen=True, slots=True)
class Material:
    """Prompts and wishes (principles, some with a rule); a task is each prompt with each wish."""

    prompts: tuple[str, ...] = PROMPTS
    wishes: tuple[Wish, ...] = tuple(map(Wish, PRINCIPLES))

    @property
    def tasks(self) -> tuple[tuple[int, int], ...]:
        """Every pair of indices (prompt, wish), by prompt first."""
        return tuple((prompt, wish) for prompt in range(len(self.prompts)) for wish in range(len(self.wishes)))

    def rivals(self, wish: int, most: int) -> list[str]:
        """Other principles to hold a text of this wish against: its neighbours, or the built-in ones."""
        neighbours = [each.principle for each in (*self.wishes[wish + 1 :], *self.wishes[:wish])]
        own = self.wishes[wish].principle
        others = dict.fromkeys(neighbours if set(neighbours) - {own} else PRINCIPLES)
        return [other for other in others if other != own][:most]

    @classmethod
    def of(cls, prompts: Sequence[str], principles: Sequence[str]) -> "Material":
        """Given prompts and principles; the built-in ones in the place of an empty sequence."""
        return cls(tuple(prompts) or PROMPTS, tuple(map(Wish, principles or PRINCIPLES)))

    @classmethod
    def of_suite(cls, suite: Suite) -> "Material":
        """A suite's validation prompts, and its principles with their first wording and value."""
        wishes = []
        for principle in suite.principles[:MOST_PRINCIPLES]:
            value = principle.values[0] if principle.values else None
            wording = principle.wordings[0] if value is None else principle.wordings[0].replace("{value}", value)
            wishes.append(Wish(wording, principle.check(value)))
        prompts = [prompt.prompt for prompt in suite.of_split(Split.VALIDATION)]
        return cls(tuple(prompts[:MOST_PROMPTS]), tuple(wishes))
