"""A policy whose tokenizer is not the base's: its prompts are its own, and it steers by the texts that are written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from domain.attempts import ClaimedItem, Outcome
from domain.pairs import PreferredPair
from domain.preferences import Method
from domain.text_pieces import Piece
from tests.builders import preference
from tests.engine.cross_tokenizer.pairs import MIXED, bytes_bpe, save_with_tokenizer
from tests.engine.models import change, save_adapter, tiny
from tests.tiny_model import write_tiny_model, write_tiny_policy
from tests.worker.items import an_item, settings_for
from worker.engine import Engine, Request
from worker.model.identity import model_digest
from worker.supervision.protocol import DecoderUnavailableError
from worker.texts.decoder import TextDecoder, load_decoder

GUIDES_TEMPLATE = "{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }} {% endfor %}[answer] "


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    write_tiny_model(folder / "base")
    tokenizer = bytes_bpe(MIXED, 330)
    size, end = tokenizer.get_vocab_size(), tokenizer.token_to_id("<end>")
    for name, seed in (("reference", 2), ("whole", 3)):
        save_with_tokenizer(
            tiny("llama", seed, vocab_size=size, eos_token_id=end, max_position_embeddings=512),
            tokenizer,
            folder / name,
        )
        change(folder / name / "tokenizer_config.json", chat_template=GUIDES_TEMPLATE)
    reference = tiny("llama", 2, vocab_size=size, eos_token_id=end, max_position_embeddings=512)
    save_adapter(reference, folder / "policy", seed=1)
    return {name: folder / name for name in ("base", "policy", "reference", "whole")}


def load(folders: dict[str, Path], **settings: object) -> TextDecoder:
    return load_decoder(settings_for(folders["base"]).model_copy(update=settings))


@pytest.fixture(scope="module")
def decoder(folders: dict[str, Path]) -> TextDecoder:
    return load(folders, policy=str(folders["policy"]), reference=str(folders["reference"]))


@pytest.mark.parametrize("method", [Method.PAD, Method.MIXTURE])
def test_each_model_reads_the_prompt_as_its_own_template_writes_it(
    decoder: TextDecoder, folders: dict[str, Path], method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Request] = []
    add: Callable[[Engine, Request], None] = Engine.add

    def watched(engine: Engine, request: Request) -> None:
        asked.append(request)
        add(engine, request)

    monkeypatch.setattr(Engine, "add", watched)
    item = an_item(1, "tea", preference("formal", method=method, strength=1.0), rewards=True, token_rewards=True)
    assert decoder.add(item) is None
    ended = [outcome for _ in range(100) if decoder.has_work for outcome in decoder.step()]

    base, policy, reference = asked[0].streams
    assert (base.weights, policy.weights, reference.weights) == ("base", "policy", "reference")
    spelt = bytes_bpe(MIXED, 330)
    assert spelt.decode(policy.prompt, skip_special_tokens=False).startswith("[user] ")
    assert "formal" in spelt.decode(policy.prompt)
    assert spelt.decode(policy.prompt).endswith("[answer] ")
    assert base.prompt != policy.prompt
    assert (reference.prompt == policy.prompt) == (method is Method.PAD)
    assert ended[0].error_code is None
    assert ended[0].reward is not None
    assert ended[0].token_rewards is not None


def ended(decoder: TextDecoder, *items: ClaimedItem) -> dict[int, Outcome]:
    """The outcomes of all items, by id; none may fail."""
    assert [decoder.add(item) for item in items] == [None] * len(items)
    outcomes = [outcome for _ in range(100) if decoder.has_work for outcome in decoder.step()]
    assert [outcome.error_message for outcome in outcomes] == [None] * len(items)
    return {outcome.item_id: outcome for outcome in outcomes}


def test_stop_texts_samples_and_hold_outs_beside_each_other_are_what_each_is_alone(decoder: TextDecoder) -> None:
    guided = preference("formal", "brief", method=Method.MIXTURE, strength=2.0)
    held_out = preference(method=Method.NONE)
    drawn: dict[str, Any] = {"temperature": 0.9, "seed": 4, "n": 2, "max_tokens": 8}
    whole = ended(decoder, an_item(1, "tea", guided, max_tokens=8))[1].text or ""
    stop = whole[len(whole) // 2]
    items = [
        an_item(1, "tea", guided, max_tokens=8, stop=[stop]),
        an_item(2, "tea", guided, **drawn),
        an_item(3, "tea", held_out, **drawn),
    ]

    alone = {item.item_id: ended(decoder, item)[item.item_id] for item in items}
    together = ended(decoder, *items)

    for item_id, outcome in together.items():
        assert (outcome.text, outcome.choices) == (alone[item_id].text, alone[item_id].choices)
    assert together[1].stop_text == stop
    assert whole.startswith(together[1].text or "")
    assert stop not in (together[1].text or "")
    assert (together[2].reward is None, together[3].reward is None) == (False, True)


def test_a_text_that_somebody_listens_to_comes_in_pieces(decoder: TextDecoder) -> None:
    guided = preference("formal", method=Method.PAD, strength=2.0)
    assert decoder.add(an_item(1, "tea", guided, max_tokens=12, listener="process.name")) is None
    pieces: list[Piece] = []
    outcomes: list[Outcome] = []
    while decoder.has_work:
        outcomes += decoder.step()
        pieces += decoder.take_pieces()

    assert "".join(piece.text for piece in pieces) == outcomes[0].text
    assert [piece.offset for piece in pieces] == [
        len("".join(earlier.text for earlier in pieces[:place])) for place in range(len(pieces))
    ]


def test_a_given_text_is_read_as_the_guide_reads_it(decoder: TextDecoder) -> None:
    item = an_item(1, "tea", preference("formal", method=Method.PAD, strength=1.0), token_rewards=True)

    outcome = decoder.add(item._replace(sampling={**item.sampling, "given": "the ที่ hat"}))

    assert outcome is not None
    assert outcome.error_message is None
    assert outcome.token_rewards is not None
    tokens: Any = outcome.token_rewards["tokens"]
    assert "".join(token["text"] for token in tokens) == "the ที่ hat"
    assert any(abs(token["reward"]) > 1e-4 for token in tokens)


def test_a_pair_of_texts_is_compared_in_the_policys_tokens(decoder: TextDecoder) -> None:
    pair = PreferredPair([{"role": "user", "content": "tea"}], "the tea is gone", "that hat")

    (features,) = decoder.compare([pair], ["formal"])

    assert features is not None
    assert abs(features[0]) > 1e-3


def test_a_guide_of_another_tokenizer_needs_no_reference(folders: dict[str, Path]) -> None:
    decoder = load(folders, guide=str(folders["whole"]))

    assert decoder.add(an_item(1, "tea", preference("formal", method=Method.MIXTURE, strength=1.0))) is None
    ended = [outcome for _ in range(100) if decoder.has_work for outcome in decoder.step()]

    assert ended[0].error_code is None
    assert ended[0].reward is not None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"policy": "whole"}, "set PADSERVE_REFERENCE to what it was trained on"),
        ({"reference": "reference"}, "set PADSERVE_POLICY beside it"),
        ({"policy": "policy"}, "PADSERVE_REFERENCE"),
    ],
)
def test_what_is_missing_is_said(folders: dict[str, Path], settings: dict[str, str], said: str) -> None:
    with pytest.raises(DecoderUnavailableError, match=said):
        load(folders, **{name: str(folders[folder]) for name, folder in settings.items()})


def test_another_reference_is_another_model(folders: dict[str, Path]) -> None:
    base, policy = str(folders["base"]), str(folders["policy"])

    assert model_digest(base, policy, reference=str(folders["reference"])) != model_digest(
        base, policy, reference=str(folders["whole"])
    )


def test_a_reference_of_the_same_tokenizer_is_what_the_policy_is_compared_with(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    write_tiny_model(tmp_path / "trained on", seed=3)
    write_tiny_policy(tmp_path / "policy", folders["base"])

    decoder = load(folders, policy=str(tmp_path / "policy"), reference=str(tmp_path / "trained on"))
    assert decoder.add(an_item(1, "tea", preference("formal", method=Method.PAD, strength=1.0))) is None
    ended = [outcome for _ in range(100) if decoder.has_work for outcome in decoder.step()]

    assert ended[0].error_code is None
    assert ended[0].reward is not None
