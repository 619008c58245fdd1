import math

import pytest
import torch
from transformers import AutoModelForCausalLM

from evaluation.methods import CONTRAST, GUIDED, POLICY_ALONE, PROMPTED, UNGUIDED, Arm
from evaluation.plan import EvaluatedModels
from evaluation.scoring import Row, Scorer, candidate_kl, completion_logits, log_probabilities
from evaluation.suite import Prompt, SuitePrinciple
from evaluation.tasks import Task
from evaluation.writing import Writer
from tests.tiny_model import write_tiny_model, write_tiny_policy

SHORT = SuitePrinciple.model_validate(
    {"type": "principle", "name": "short", "wordings": ["be short"], "rule": {"max_words": 5}}
)
TASKS = [
    Task(Prompt(type="prompt", prompt=text), (SHORT,), ("be short",), wrong="be long", seed=0)
    for text in ("Tea?", "Write about the tea garden.")
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> EvaluatedModels:
    folder = tmp_path_factory.mktemp("models")
    write_tiny_model(folder / "base")
    write_tiny_policy(folder / "policy", folder / "base")
    return EvaluatedModels(str(folder / "base"), str(folder / "policy"))


@pytest.fixture(scope="module")
def writer(models: EvaluatedModels) -> Writer:
    return Writer.load(models, device="cpu", max_tokens=12)


def test_a_model_does_not_diverge_from_itself() -> None:
    logits = torch.randn(7, 50)

    for over_candidates in (True, False):
        whole = candidate_kl([logits], [1.0], logits, 50, over_candidates=over_candidates)
        assert whole == pytest.approx(0.0, abs=1e-6)


def test_the_divergence_of_two_known_distributions_is_the_known_one() -> None:
    base = torch.tensor([[0.5, 0.25, 0.25]]).log()
    policy = torch.tensor([[0.125, 0.125, 0.75]]).log()

    # Strength 1: the base cancels, and the policy is left, over the base's three candidates.
    measured = candidate_kl([base, policy], [0.0, 1.0], base, 3, over_candidates=True)

    assert measured == pytest.approx(0.125 * math.log(0.25) + 0.125 * math.log(0.5) + 0.75 * math.log(3.0))


def test_candidates_outside_the_best_k_do_not_count() -> None:
    base = torch.tensor([[2.0, 1.0, 0.0]])
    policy = torch.tensor([[2.0, 1.0, 9.0]])

    assert candidate_kl([base, policy], [0.0, 1.0], base, 2, over_candidates=True) == pytest.approx(0.0, abs=1e-6)


def test_a_batched_row_is_scored_as_if_alone(models: EvaluatedModels) -> None:
    model = AutoModelForCausalLM.from_pretrained(models.base, dtype=torch.float32)
    rows = [Row((5, 6, 7), (8, 9)), Row((5, 6), (1, 2, 3, 4, 5, 6, 7, 8))]

    together = log_probabilities(model, rows)
    alone = [log_probabilities(model, [row])[0] for row in rows]
    with torch.inference_mode():
        by_hand = model(torch.tensor([[5, 6, 7, 8]])).logits[0, 2:].log_softmax(-1)

    assert together == pytest.approx(alone, abs=1e-4)
    assert alone[0] == pytest.approx(float(by_hand[0, 8] + by_hand[1, 9]), abs=1e-4)
    assert completion_logits(model, rows)[1].shape[0] == 8


@pytest.mark.parametrize("method", [UNGUIDED, PROMPTED, GUIDED, CONTRAST, POLICY_ALONE], ids=lambda method: method.name)
def test_every_method_chooses_what_its_scored_distribution_prefers(
    models: EvaluatedModels, writer: Writer, method: Arm
) -> None:
    writing = writer.write(TASKS, method)

    scores = Scorer(models, writer, language_model=models.base).score(writing)

    for score, text in zip(scores, writing.texts, strict=True):
        assert score.num_tokens == len(text.token_ids) > 0
        assert score.surprise_base > 0
        assert score.surprise_independent is not None
        assert score.kl is not None
        assert score.kl >= -1e-6
    moves = any(score.kl is not None and score.kl > 1e-4 for score in scores)
    assert moves is (method in {GUIDED, CONTRAST, POLICY_ALONE})


def test_the_log_ratio_of_a_guided_text_is_the_reward_that_the_engine_summed(
    models: EvaluatedModels, writer: Writer
) -> None:
    whole_vocabulary = GUIDED.at(k=writer.engine.vocab_size)
    writing = writer.write(TASKS, whole_vocabulary)

    rows = [Row(writer.streams(whole_vocabulary, text.task)[0].prompt, text.token_ids) for text in writing.texts]
    ratios = Scorer(models, writer).log_ratios(rows)

    assert ratios == pytest.approx([text.reward for text in writing.texts], abs=1e-3)


def test_the_guided_model_at_strength_one_is_the_policy(models: EvaluatedModels, writer: Writer) -> None:
    rows = [Row((5, 6, 7), (8, 9)), Row((5, 6), (1, 2, 3))]
    scorer = Scorer(models, writer)

    whole = scorer.rank(rows, strength=1.0)
    none = scorer.rank(rows, strength=0.0)

    assert [score.guided for score in whole] == pytest.approx([s.base + s.reward for s in whole], abs=1e-4)
    assert [score.guided for score in none] == pytest.approx([score.base for score in none], abs=1e-5)
    assert [score.reward for score in whole] == pytest.approx(scorer.log_ratios(rows), abs=1e-4)


def test_tasks_that_ask_for_the_same_text_are_decoded_once(writer: Writer) -> None:
    once = writer.write(TASKS[:1], UNGUIDED)
    twice = writer.write([TASKS[0], TASKS[0]], UNGUIDED)

    assert twice.num_tokens == once.num_tokens
    assert [text.text for text in twice.texts] == [once.texts[0].text] * 2
