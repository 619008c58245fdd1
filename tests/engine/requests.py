"""Requests in the forms that the methods of the family take."""

import random

from tests.engine.models import EOS, VOCAB_SIZE
from worker.engine import Completion, Engine, Request, Stream


def prompt(seed: int, num_tokens: int) -> tuple[int, ...]:
    """Any token but the end of sequence."""
    return tuple(random.Random(seed).choices(range(VOCAB_SIZE - 1), k=num_tokens))


def plain(text: tuple[int, ...]) -> tuple[Stream, ...]:
    return (Stream("base", text),)


def pad(text: tuple[int, ...]) -> tuple[Stream, ...]:
    """The reference is the base with the same prompt."""
    return (Stream("base", text, reward=-1.0), Stream("policy", text, reward=1.0))


def pad_with_reference(text: tuple[int, ...]) -> tuple[Stream, ...]:
    return (Stream("base", text), Stream("policy", text, reward=1.0), Stream("reference", text, reward=-1.0))


def mixture(text: tuple[int, ...]) -> tuple[Stream, ...]:
    """Two principles, each a prompt of its own for the policy, with unequal weights."""
    return (
        Stream("base", text, reward=-1.0),
        Stream("policy", (11, 12, *text), reward=0.7),
        Stream("policy", (13, *text), reward=0.3),
    )


def contrast(text: tuple[int, ...]) -> tuple[Stream, ...]:
    """With the principles against without them, on the base alone."""
    return (Stream("base", (11, 12, *text), reward=1.0), Stream("base", text, reward=-1.0))


METHODS = {
    "none": plain,
    "pad": pad,
    "pad_with_reference": pad_with_reference,
    "mixture": mixture,
    "contrast": contrast,
}


def mixed_batch(max_tokens: int = 12) -> list[Request]:
    """Every method, greedy and sampled, with unequal prompts, lengths, strengths, k, temperatures and nuclei."""
    requests = []
    for index, method in enumerate([*METHODS.values(), *METHODS.values(), *METHODS.values()]):
        requests.append(
            Request(
                request_id=index,
                streams=method(prompt(index, 1 + (index * 5) % 17)),
                strength=(0.5, 0.8, 1.5, -0.7)[index % 4],
                k=(10, 1, 3, 20, 7, VOCAB_SIZE)[index % 6],
                temperature=(0.0, 0.0, 0.7, 1.3)[index % 4],
                top_p=(1.0, 0.6, 0.9)[index % 3],
                seed=index * 2**61 + 3,
                max_tokens=max_tokens - index % 5,
                return_rewards=True,
            )
        )
    return requests


def shaped_batch(seed: int, num_requests: int = 16, max_tokens: int = 10) -> list[Request]:
    """Random combinations of everything that shapes a distribution, each left alone by some requests."""
    rng = random.Random(seed)

    def some(*values: float) -> float:
        return rng.choice(values)

    requests = []
    for index in range(num_requests):
        method = rng.choice([*METHODS])
        strength = some(0.0, 0.5, 2.0, 6.0, -1.5)
        is_guided = method != "none" and strength != 0
        requests.append(
            Request(
                request_id=index,
                streams=METHODS[method](prompt(100 * seed + index, 1 + rng.randrange(17))),
                strength=strength,
                max_kl=rng.choice([None, 0.05, 0.4, 2.0, 100.0]),
                k=rng.choice([10, 1, 4, VOCAB_SIZE] if is_guided else [10, 4, None, None]),
                temperature=some(0.0, 0.7, 1.3, 5e-324),
                top_p=some(1.0, 0.6, 0.9),
                min_p=some(0.0, 0.0, 0.02, 0.3),
                seed=rng.getrandbits(64),
                max_tokens=max_tokens - rng.randrange(4),
                min_tokens=rng.choice([0, 0, 3, 6]),
                logit_bias=rng.choice([(), ((rng.randrange(VOCAB_SIZE), 4.0), (EOS, 7.0)), ((EOS, -100.0),)]),
                repetition_penalty=some(1.0, 1.0, 1.3, 0.8),
                frequency_penalty=some(0.0, 0.0, 0.7, -0.4),
                presence_penalty=some(0.0, 0.0, 1.5, -1.0),
                return_rewards=True,
            )
        )
    return requests


def decode(engine: Engine, requests: list[Request]) -> dict[int | str, Completion]:
    """The completions of requests none of which may fail."""
    completions = {}
    for outcome in engine.generate(requests):
        assert isinstance(outcome, Completion), outcome
        completions[outcome.request_id] = outcome
    return completions


def token_ids(completions: dict[int | str, Completion]) -> dict[int | str, tuple[int, ...]]:
    return {key: completion.token_ids for key, completion in completions.items()}
