"""What guided each token of a text, with its texts: the real engine and tokenizer on a tiny random model."""

import json
from pathlib import Path
from typing import Any

import pytest

from domain.attempts import ClaimedItem, Outcome
from domain.pairs import PreferredPair
from domain.preferences import EffectivePreference, Method
from tests.builders import preference
from tests.tiny_model import write_tiny_model, write_tiny_policy
from tests.worker.items import an_item, settings_for
from worker.learning.comparison import Comparison
from worker.texts.decoder import TextDecoder, load_decoder
from worker.texts.insight import pieces

TEXT = "A cup of tea, please \N{TEAPOT} now."


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> TextDecoder:
    directory = tmp_path_factory.mktemp("models")
    write_tiny_model(Path(directory / "base"))
    write_tiny_policy(directory / "policy", directory / "base")
    return load_decoder(settings_for(directory / "base", directory / "policy"))


def ended(decoder: TextDecoder, item: ClaimedItem) -> Outcome:
    outcome = decoder.add(item)
    while outcome is None:
        outcome = next(iter(decoder.step()), None)
    return outcome


def reading(item_id: int, guided: EffectivePreference, text: str) -> ClaimedItem:
    """An item whose text is given."""
    item = an_item(item_id, "tea", guided, token_rewards=True)
    return item._replace(sampling={**item.sampling, "given": text})


def completion_without_end(self: Any, text: str) -> tuple[int, ...]:  # noqa: ANN401 - a method's own object
    return tuple(self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))


def tokens_of(outcome: Outcome) -> list[dict[str, object]]:
    """As they are stored."""
    assert outcome.error_code is None, outcome.error_message
    stored = json.loads(json.dumps(outcome.token_rewards))
    tokens: list[dict[str, object]] = stored["tokens"]
    return tokens


@pytest.mark.parametrize("method", [*Method])
def test_a_text_that_was_written_comes_with_what_guided_each_of_its_tokens(
    decoder: TextDecoder, method: Method
) -> None:
    guided = preference("formal", "brief", method=method, strength=1.0)
    outcome = ended(decoder, an_item(1, "tea", guided, rewards=True, token_rewards=True))

    tokens = tokens_of(outcome)

    whole = "".join(str(token["text"]) for token in tokens)
    for control in ("<|assistant|>", "<|user|>", "<|system|>"):  # which the tokens show, and the text does not
        whole = whole.replace(control, "")
    assert whole.rstrip("\N{REPLACEMENT CHARACTER}") == (outcome.text or "").rstrip("\N{REPLACEMENT CHARACTER}")
    rewards = [token["reward"] for token in tokens]
    assert rewards == pytest.approx((outcome.rewards or [0.0] * len(tokens))[: len(tokens)], abs=1e-4)
    assert all(len(token["candidates"]) == 10 for token in tokens)  # type: ignore[arg-type] # JSON


def test_a_text_that_is_given_is_read_and_not_written(decoder: TextDecoder) -> None:
    guided = preference("formal", method=Method.CONTRAST, strength=1.0)

    outcome = ended(decoder, reading(2, guided, TEXT))

    assert "".join(str(token["text"]) for token in tokens_of(outcome)) == TEXT == outcome.text
    assert (outcome.finish_reason, outcome.num_completion_tokens) == ("given", 0)
    assert not decoder.has_work


def test_each_principle_speaks_for_a_text_as_weights_are_learnt_from_it_but_for_its_end(
    decoder: TextDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = preference("brief", "formal", method=Method.MIXTURE, strength=1.0)
    of_texts = []
    for text in (TEXT, "Tea!"):
        outcome = ended(decoder, reading(3, both, text))
        assert outcome.token_rewards is not None
        of_texts.append([each["log_ratio"] for each in outcome.token_rewards["principles"]])  # type: ignore[attr-defined] # JSON

    monkeypatch.setattr(Comparison, "_completion", completion_without_end)
    (features,) = decoder.compare(
        [PreferredPair([{"role": "user", "content": "tea"}], TEXT, "Tea!")], ["brief", "formal"]
    )

    assert features is not None
    differences = [one - other for one, other in zip(*of_texts, strict=True)]
    assert differences == pytest.approx(features, abs=1e-3)


def test_a_character_of_several_tokens_is_added_by_its_last() -> None:
    text = "a\N{TEAPOT}b".encode()

    assert pieces([*text], lambda ids: bytes(ids).decode(errors="replace")) == ["a", "", "", "", "\N{TEAPOT}", "b"]


def test_the_token_that_ended_a_text_is_among_its_tokens_and_adds_nothing_to_it(decoder: TextDecoder) -> None:
    (end_token_id,) = decoder._engine.eos_token_ids  # noqa: SLF001 - of the tiny model
    guided = preference("formal", method=Method.PAD, strength=1.0)
    bias = {"logit_bias": [[end_token_id, 100.0]], "min_tokens": 3}

    outcome = ended(decoder, an_item(7, "tea", guided, rewards=True, token_rewards=True, **bias))

    *written, end = tokens_of(outcome)
    assert (end["token_id"], end["text"], end["is_end"]) == (end_token_id, "", True)
    assert not any(token["is_end"] for token in written)
    assert outcome.reward == pytest.approx(sum(float(str(token["reward"])) for token in (*written, end)), abs=1e-3)
