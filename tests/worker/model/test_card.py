"""A card says how a model is asked and how strongly it is steered; what cannot be read is refused with a sentence."""

import json
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from domain.preferences import Method
from tests.tiny_model import a_tokenizer
from worker.model.card import CARD_NAME, Card, CardError, find_card, read_card
from worker.supervision.protocol import DecoderUnavailableError
from worker.texts.decoder import completed
from worker.texts.formats import INSTRUCTION, PAD, SYSTEM, Format

DEMO_POLICY = Path(__file__).parents[3] / "examples" / "demo" / "model" / "policy"


def test_a_card_that_is_written_is_the_card_that_is_read(tmp_path: Path) -> None:
    own = Format("own", "user", "As {principles}: {prompt}")
    card = Card(format=own, method=Method.CONTRAST, strength=1.5, max_kl=0.4, chosen={"why": "it read well"})

    assert read_card(card.write(tmp_path)) == card
    assert "format" in json.loads((tmp_path / CARD_NAME).read_text())


def test_a_built_in_format_is_written_by_its_name(tmp_path: Path) -> None:
    Card(format=SYSTEM).write(tmp_path)

    assert json.loads((tmp_path / CARD_NAME).read_text()) == {"version": 1, "format": "system"}


def test_the_demos_card_says_what_its_policy_was_trained_with() -> None:
    card = find_card("base", str(DEMO_POLICY))

    assert card is not None
    assert (card.format, card.method, card.strength, card.max_kl) == (PAD, Method.PAD, 0.5, None)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a JSON object"),
        ("{}", "`format`: Field required"),
        ('{"format": "padd"}', "no format 'padd'"),
        ('{"format": "pad", "strenght": 1}', "`strenght` is unknown"),
        ('{"format": "pad", "strength": "1"}', "`strength`"),
        ('{"format": "pad", "strength": -1}', "`strength`"),
        ('{"format": "pad", "max_kl": -1}', "`max_kl`"),
        ('{"format": "pad", "method": "magic"}', "`method`"),
        ('{"format": "pad", "version": 2}', "`version`"),
        ('{"format": {"role": "user", "template": "{prompt}"}}', "each once"),
        ('{"format": {"role": ["user"], "template": "{principles} {prompt}"}}', "`role` is system or user"),
        ('{"format": "pad", "strength": NaN}', "no number NaN"),
        ('{"format": "pad", "chosen": {"kl": -Infinity}}', "no number -Infinity"),
    ],
)
def test_a_card_that_is_not_one_is_refused_with_a_sentence(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / CARD_NAME
    path.write_text(text)

    with pytest.raises(CardError, match=says) as refused:
        read_card(path)

    assert str(path) in str(refused.value)


def test_a_card_may_begin_with_the_mark_that_some_editors_put_there(tmp_path: Path) -> None:
    path = tmp_path / CARD_NAME
    path.write_text("\ufeff" + '{"format": "system"}', encoding="utf-8")

    assert read_card(path) == Card(format=SYSTEM)


def test_a_policys_card_counts_and_not_its_bases(tmp_path: Path) -> None:
    for name, format in (("base", SYSTEM), ("policy", PAD)):
        (tmp_path / name).mkdir()
        Card(format=format).write(tmp_path / name)
    (tmp_path / "bare").mkdir()
    base, policy, bare = (str(tmp_path / name) for name in ("base", "policy", "bare"))

    assert find_card(base) == Card(format=SYSTEM)
    assert find_card(base, policy) == Card(format=PAD)
    assert find_card(base, bare) is None
    assert find_card("hub/id") is None
    assert find_card(base, policy, str(tmp_path / "base" / CARD_NAME)) == Card(format=SYSTEM)


def test_a_card_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(CardError, match="cannot be read"):
        find_card("base", None, str(tmp_path / "nothing"))


def test_a_policy_without_a_card_is_one_of_pads_released_kind() -> None:
    card = completed(None, a_tokenizer(), has_policy=True)

    assert (card.format, card.method, card.strength, card.max_kl) == (PAD, Method.PAD, 1.0, None)


SILENT_SYSTEM = "{% for m in messages %}{% if m['role'] != 'system' %}{{ m['content'] }}{% endif %}{% endfor %}"


@pytest.mark.parametrize(
    ("tokenizer", "format", "method"),
    [
        (a_tokenizer(), SYSTEM, Method.CONTRAST),
        (a_tokenizer(chat_template=SILENT_SYSTEM), INSTRUCTION, Method.PROMPT),
        (a_tokenizer(chat_template=None), INSTRUCTION, Method.PROMPT),
    ],
    ids=["system turn", "no system turn", "no template"],
)
def test_an_uncalibrated_model_is_guided_where_what_it_reads_is_not_repeated_and_asked_elsewhere(
    tokenizer: PreTrainedTokenizerBase, format: Format, method: Method
) -> None:
    # Behind the prompt, guided: 22 of 210 texts of a real model ended with "Style: write like a pirate." and the like.
    card = completed(None, tokenizer, has_policy=False)

    assert (card.format, card.method) == (format, method)
    assert card.max_kl is not None


def test_what_a_card_leaves_out_is_filled_in() -> None:
    card = completed(Card(format=INSTRUCTION), a_tokenizer(), has_policy=False)

    assert (card.method, card.strength, card.max_kl) == (Method.CONTRAST, 1.0, None)


def test_a_card_whose_format_the_model_would_not_see_is_refused() -> None:
    with pytest.raises(DecoderUnavailableError, match="system turn"):
        completed(Card(format=SYSTEM), a_tokenizer(chat_template=SILENT_SYSTEM), has_policy=False)


def test_a_card_whose_method_needs_a_policy_is_refused_without_one() -> None:
    card = Card(format=PAD, method=Method.PAD)

    assert completed(card, a_tokenizer(), has_policy=True).method is Method.PAD
    with pytest.raises(DecoderUnavailableError, match="`pad`, needs a policy"):
        completed(card, a_tokenizer(), has_policy=False)
