"""Texts that are to be like an author's, by the methods as they are served. Writes; judges nothing.

Every method that is shown examples is shown the same ones in the same way: their prompts are equal, token by token.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from domain.preferences import EffectivePreference, Method
from evaluation.real.authors.texts import Author
from evaluation.writing import Writer
from worker.engine import Completion, Request
from worker.texts.formats import Message
from worker.texts.methods import streams_of


@dataclass(frozen=True)
class Condition:
    """One way to use the examples."""

    method: Method
    strength: float = 0.0
    max_kl: float | None = None

    @property
    def title(self) -> str:
        """The arm's name in tables."""
        if self.method is Method.NONE:
            return "unguided"
        if self.method is Method.PROMPT:
            return "few-shot (`prompt`)"
        budget = "" if self.max_kl is None else f", budget {self.max_kl:g}"
        return f"`{self.method.value}` {self.strength:g}{budget}"

    def preference(self, author: Author) -> EffectivePreference:
        """What the author's profile asks for."""
        examples = () if self.method is Method.NONE else author.examples
        return EffectivePreference(self.method, self.strength, (), self.max_kl, examples)


UNGUIDED = Condition(Method.NONE)
FEW_SHOT = Condition(Method.PROMPT)


@dataclass(frozen=True)
class Written:
    """One text, and all that any judge may want to know of it."""

    condition: Condition
    author: str
    prompt: str
    text: str
    num_prompt_tokens: int
    num_tokens: int
    kl: float | None
    """Mean of KL(guided || few-shot) over the tokens, in nats."""


def write(writer: Writer, author: Author, prompts: Sequence[str], condition: Condition) -> list[Written]:
    """The author's text for each prompt, greedily.

    One author at a time: the engine reads the beginning that most prompts share once, which is then the examples.
    """
    preference = condition.preference(author)
    requests = []
    for number, prompt in enumerate(prompts):
        streams = streams_of(preference, [Message(role="user", content=prompt)], writer.encode, writer.format)
        strength, max_kl = condition.strength, condition.max_kl
        requests.append(Request(number, streams, strength=strength, max_kl=max_kl, max_tokens=writer.max_tokens))
    completions = writer.decode(requests)
    return [_written(writer, condition, author, *each) for each in zip(prompts, completions, strict=True)]


def _written(writer: Writer, condition: Condition, author: Author, prompt: str, completion: Completion) -> Written:
    text = str(writer.tokenizer.decode(list(completion.token_ids), skip_special_tokens=True))
    num_prompt_tokens, num_tokens = completion.num_prompt_tokens, completion.num_completion_tokens
    return Written(condition, author.name, prompt, text, num_prompt_tokens, num_tokens, completion.kl)
