"""The reward model that is shipped for SmolLM2: its card is read, it loads on its base, and it steers."""

import gzip
from functools import partial
from pathlib import Path

from transformers import AutoTokenizer

from domain.preferences import Method, Principle, effective_preference
from worker.engine import Completion, Request, load_engine
from worker.model.card import find_card
from worker.persrm.pairs import read_pairs
from worker.texts.formats import SYSTEM, Message
from worker.texts.methods import streams_of
from worker.texts.prompts import encode

SHIPPED = Path(__file__).parents[2] / "examples" / "real"
POLICY = str(SHIPPED / "policy")


def test_its_card_says_how_it_was_trained() -> None:
    card = find_card("base", POLICY)

    assert card is not None
    assert (card.format, card.method, card.strength, card.max_kl) == (SYSTEM, Method.PAD, 1.0, None)


def test_its_pairs_can_be_trained_on(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_bytes(gzip.decompress((SHIPPED / "pairs.jsonl.gz").read_bytes()))

    assert len(read_pairs(tmp_path / "pairs.jsonl")) == 3492


def test_it_makes_a_casual_answer_more_casual(smollm2: Path) -> None:
    engine = load_engine(str(smollm2), POLICY, device="cpu", dtype="float32", num_slots=2, max_length=256)
    wish = effective_preference(Method.PAD, 1.0, [Principle("be casual, as to a friend")])
    asked = [Message(role="user", content="Write a short message to customers whose order is delayed.")]
    streams = streams_of(wish, asked, partial(encode, AutoTokenizer.from_pretrained(smollm2)), SYSTEM)

    ended = list(engine.generate(Request(strength, streams, strength, max_tokens=16) for strength in (0, 1)))

    plain, guided = sorted((one for one in ended if isinstance(one, Completion)), key=lambda one: int(one.request_id))
    assert plain.reward is None
    assert guided.reward is not None
    assert guided.reward > 1
    assert guided.token_ids != plain.token_ids
