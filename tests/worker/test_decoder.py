"""Items in, texts out: the real engine and tokenizer on a tiny random model."""

import uuid
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerBase

from db.preferences import EffectivePreference, Method
from db.queries.claims import ClaimedItem, Outcome
from db.queries.feedback import Pair
from tests.builders import SAMPLING, preference
from tests.tiny_model import write_tiny_model, write_tiny_policy
from worker.decoder import TextDecoder, load_decoder
from worker.formats import PAD, Message, with_principles
from worker.prompts import encode
from worker.protocol import DecoderUnavailableError
from worker.settings import WorkerSettings

PLAIN = preference(method=Method.NONE)


@pytest.fixture(scope="module")
def model_directories(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    directory = tmp_path_factory.mktemp("models")
    write_tiny_model(directory / "base")
    write_tiny_policy(directory / "policy", directory / "base")
    return directory / "base", directory / "policy"


def settings_for(model: Path | None, policy: Path | None = None, **changes: object) -> WorkerSettings:
    given = WorkerSettings(
        database_url="sqlite://",
        redis_url="redis://",
        model=None if model is None else str(model),
        policy=None if policy is None else str(policy),
        device="cpu",
        num_slots=4,
    )
    return given.model_copy(update=changes)


@pytest.fixture(scope="module")
def decoder(model_directories: tuple[Path, Path]) -> TextDecoder:
    return load_decoder(settings_for(*model_directories))


def an_item(item_id: int, prompt: str, given: EffectivePreference = PLAIN, **sampling: object) -> ClaimedItem:
    messages: list[dict[str, object]] = [{"role": "user", "content": prompt}]
    return ClaimedItem(item_id, uuid.UUID(int=0), 1, messages, given.body, {**SAMPLING, **sampling})


def decode(decoder: TextDecoder, items: Sequence[ClaimedItem]) -> dict[int, Outcome]:
    refused = [outcome for item in items if (outcome := decoder.add(item)) is not None]
    ended = {outcome.item_id: outcome for outcome in refused}
    while decoder.has_work:
        ended.update((outcome.item_id, outcome) for outcome in decoder.step())
    return ended


def test_an_unguided_item_is_what_the_model_itself_generates(
    decoder: TextDecoder, model_directories: tuple[Path, Path]
) -> None:
    base, _ = model_directories
    tokenizer, model = AutoTokenizer.from_pretrained(base), LlamaForCausalLM.from_pretrained(base)
    prompt_ids = torch.tensor([encode(tokenizer, [Message(role="user", content="tea")])])
    generated = model.generate(  # type: ignore[misc] # transformers types `self` as a protocol its classes do not match
        prompt_ids, attention_mask=torch.ones_like(prompt_ids), max_new_tokens=16, do_sample=False, pad_token_id=0
    )
    expected = tokenizer.decode(generated[0, prompt_ids.shape[1] :], skip_special_tokens=True)

    outcome = decode(decoder, [an_item(1, "tea")])[1]

    assert outcome.text == expected
    assert outcome.num_prompt_tokens == prompt_ids.shape[1]
    assert outcome.reward is None


@pytest.mark.parametrize("method", [Method.PROMPT, Method.PAD, Method.MIXTURE, Method.CONTRAST])
def test_every_method_decodes_and_steers(decoder: TextDecoder, method: Method) -> None:
    guided = an_item(1, "tea", preference("formal", "brief", method=method, strength=1.0), rewards=True)

    ended = decode(decoder, [guided, an_item(2, "tea")])

    assert ended[1].error_code is None
    assert ended[1].text != ended[2].text
    assert (ended[1].reward is None) == (method is Method.PROMPT)
    assert (ended[1].rewards is None) == (method is Method.PROMPT)


def test_an_item_that_does_not_fit_fails_alone_with_both_numbers(decoder: TextDecoder) -> None:
    ended = decode(decoder, [an_item(1, "long " * 200), an_item(2, "tea")])

    assert ended[1].error_code is not None
    assert "512" in str(ended[1].error_message)
    assert ended[2].text


def test_a_stop_text_ends_the_answer_before_it(decoder: TextDecoder) -> None:
    whole = str(decode(decoder, [an_item(1, "tea")])[1].text)
    stop = whole[5:7]

    stopped = decode(decoder, [an_item(1, "tea", stop=[stop])])[1]

    assert stopped.text == whole[: whole.find(stop)]
    assert stopped.finish_reason == "stop"


def test_more_candidates_than_tokens_means_every_token(decoder: TextDecoder) -> None:
    ended = decode(decoder, [an_item(1, "tea", k=1000)])

    assert ended[1].error_code is None


def test_a_cancelled_item_gives_no_outcome(decoder: TextDecoder) -> None:
    decoder.add(an_item(1, "tea"))
    decoder.add(an_item(2, "tea"))
    decoder.cancel(1)
    decoder.cancel(77)

    assert sorted(decode(decoder, [])) == [2]


def test_a_missing_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DecoderUnavailableError, match="PADSERVE_MODEL"):
        load_decoder(settings_for(tmp_path / "nothing"))
    with pytest.raises(DecoderUnavailableError, match="PADSERVE_MODEL"):
        load_decoder(settings_for(None))


def test_a_model_without_a_tokenizer_says_so(model_directories: tuple[Path, Path], tmp_path: Path) -> None:
    base, _ = model_directories
    LlamaForCausalLM.from_pretrained(base).save_pretrained(tmp_path / "bare")

    with pytest.raises(DecoderUnavailableError, match="tokenizer"):
        load_decoder(settings_for(tmp_path / "bare"))


def test_a_comparison_is_the_difference_of_log_ratios(
    decoder: TextDecoder, model_directories: tuple[Path, Path]
) -> None:
    base, policy = model_directories
    tokenizer = AutoTokenizer.from_pretrained(base)
    plain = LlamaForCausalLM.from_pretrained(base)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        guided = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(base), policy)
    message = Message(role="user", content="tea")
    pair = Pair([{"role": "user", "content": "tea"}], "a good text", "another")

    def log_likelihood(model: torch.nn.Module, messages: list[Message], text: str) -> float:
        prompt = encode(tokenizer, messages)
        completion = (*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id)
        ids = torch.tensor([[*prompt, *completion]])
        with torch.no_grad():
            of_all = model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])
        return float(of_all[len(prompt) - 1 :].sum())

    def phi(principle: str, text: str) -> float:
        steered = log_likelihood(guided, with_principles([message], [principle], PAD), text)
        return steered - log_likelihood(plain, [message], text)

    told: list[None] = []
    (features,) = decoder.compare([pair], ["formal", "playful"], on_progress=lambda: told.append(None))

    expected = [phi(principle, pair.chosen) - phi(principle, pair.rejected) for principle in ("formal", "playful")]
    assert features == pytest.approx(expected, abs=1e-3)
    assert any(abs(value) > 1e-2 for value in expected)
    assert told, "a comparison of long texts says that it is alive"


def test_a_pair_that_is_too_long_has_no_features_and_the_others_keep_theirs(decoder: TextDecoder) -> None:
    tea: list[dict[str, object]] = [{"role": "user", "content": "tea"}]
    good, long = Pair(tea, "a", "b"), Pair(tea, "word " * 5000, "b")

    alone = decoder.compare([good], ["formal"])
    together = decoder.compare([long, good], ["formal"])

    assert together[0] is None
    assert together[1] == pytest.approx(alone[0], abs=1e-4)


def test_a_prompt_that_is_too_long_is_encoded_once(
    model_directories: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of megabytes, once for each of many principles, took longer than an engine may be silent."""
    encoded: list[str] = []

    def watched(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> tuple[int, ...]:
        encoded.append(messages[-1]["content"])
        return encode(tokenizer, messages)

    monkeypatch.setattr("worker.decoder.encode", watched)
    decoder = load_decoder(settings_for(*model_directories))
    prompt = "word " * 5000

    features = decoder.compare([Pair([{"role": "user", "content": prompt}], "a", "b")], ["formal", "playful"])

    assert features == [None]
    assert encoded == [prompt]
