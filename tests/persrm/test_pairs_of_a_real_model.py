"""The pairs of the SmolLM2 recipe: sound texts, clear margins, equal lengths, and no judge that evaluates."""

import pytest

from examples.real.judges import positive
from examples.real.pairs import Kind, advantage, finished, is_sound, pairs
from examples.real.principles import PRINCIPLES, JudgedPrinciple
from examples.real.prompts import prompts
from examples.real.texts import Candidate, Context, Origin, Sampling, contexts, write
from worker.engine import Completion, FinishReason, Request
from worker.texts.formats import Message

BREAD = "Write a short message that tells customers about fresh bread."
GLAD = "Our lovely bread is the best in town, and we are happy to see you enjoy it every single morning."
PLAIN = "Our bread is baked in the town oven at six, and we sell it at the counter until noon on weekdays."
LONG = f"{PLAIN} Come by on foot or by bicycle, bring a bag, and ask for the rye loaf if you want a dark crust."
SAD = "Our bread is the worst in town, a sad and terrible loss, and you regret it every single cold morning."


def _principle(name: str) -> JudgedPrinciple:
    return next(principle for principle in PRINCIPLES if principle.name == name)


def _asked(name: str) -> Context:
    principle = _principle(name)
    return Context(BREAD, (principle,), principle.wordings[:1])


def _written(context: Context, text: str, origin: Origin = Origin.PROMPTED) -> Candidate:
    return Candidate(context, origin, text, ended=True)


def test_the_text_that_keeps_the_principle_better_is_chosen() -> None:
    asked = _asked("positive")

    found = pairs([_written(asked, PLAIN), _written(asked, GLAD)], seed=1)

    assert [(one.kind, one.pair.chosen, one.pair.rejected) for one in found] == [(Kind.WEAK, GLAD, PLAIN)]


def test_a_text_that_keeps_another_principle_is_rejected() -> None:
    asked, other = _asked("positive"), _asked("negative")

    found = pairs([_written(asked, GLAD), _written(other, SAD)], seed=1)

    assert {one.pair.principles for one in found if one.kind is Kind.WRONG} == {asked.wordings, other.wordings}


def test_what_is_hardly_better_makes_no_pair() -> None:
    asked = _asked("positive")

    assert pairs([_written(asked, LONG), _written(asked, LONG.replace("baked", "good"))], seed=1) == []


@pytest.mark.parametrize("name", ["positive", "short"])
def test_length_decides_only_where_the_principle_is_about_it(name: str) -> None:
    asked = _asked(name)

    found = pairs([_written(asked, GLAD), _written(asked, LONG)], seed=1)

    assert bool(found) is (name == "short")


def test_both_of_two_principles_must_be_kept_better() -> None:
    both = Context(BREAD, (_principle("positive"), _principle("questions")), ("cheerful", "use rhetorical questions"))

    assert advantage(both, GLAD, PLAIN) <= 0
    assert advantage(both, f"{GLAD} Will you come? Why wait?", PLAIN) >= 1


@pytest.mark.parametrize(
    "text",
    [
        "Bread, bread, bread.",
        "Our bread is good. " * 8,
        f"Follow this style in every answer: cheerful. {GLAD}",
        f"In a cheerful tone, here is what we have to say. {GLAD}",
        f"\ufffd\ufffd {GLAD}",
        "The stars above the harbour are bright tonight, and the ships have all sailed home with the tide.",
    ],
)
def test_broken_repeated_echoing_and_unrelated_texts_are_left_out(text: str) -> None:
    assert is_sound(GLAD, _asked("positive"))
    assert not is_sound(text, _asked("positive"))


def test_a_text_that_was_cut_ends_with_its_last_whole_sentence() -> None:
    candidate = Candidate(_asked("positive"), Origin.PLAIN, "Bread is here. Is it warm? It is, and the", ended=False)

    assert finished(candidate) == "Bread is here. Is it warm?"


def test_contexts_leave_out_what_the_evaluation_calls_unseen() -> None:
    without = frozenset(principle.name for principle in PRINCIPLES[:10])

    found = contexts(prompts(3, 20), Sampling(), 3, without)

    assert without.isdisjoint(principle.name for context in found for principle in context.principles)
    assert {len(context.principles) for context in found} == {1, 2}


def test_every_context_is_written_plain_prompted_and_steered() -> None:
    requests: list[Request] = []

    def decode(given: object) -> list[Completion]:
        assert isinstance(given, list)
        requests.extend(given)
        return [Completion(r.request_id, (1,), FinishReason.STOP, 1, 1, None, None, None) for r in reversed(requests)]

    def show(prompt: str, wordings: object) -> list[Message]:
        return [Message(role="user", content=f"{prompt} {wordings}")]

    asked = _asked("positive")
    found = write(
        [asked],
        decode,
        show=show,
        encode=lambda messages: (len(messages[0]["content"]),),
        text_of=lambda _: "text",
        sampling=Sampling(plain=1, prompted=2, strengths=(1.0, 2.0)),
        seed=0,
    )

    assert [one.origin for one in found] == [Origin.PLAIN, *[Origin.PROMPTED] * 2, *[Origin.STEERED] * 2]
    assert [request.strength for request in requests] == [0, 0, 0, 1, 2]
    assert len({request.seed for request in requests}) == len(requests)


def test_word_lists_count_stems_and_are_shares() -> None:
    assert positive("delightful " + "word " * 24) == pytest.approx(4.0)
    assert positive("word " * 25) == 0
