"""Items in, texts out: the real engine and tokenizer on a tiny random model."""

import io
import pickle
import shutil
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from structlog.testing import capture_logs
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerBase

from domain.attempts import Attempt, ClaimedItem, Outcome
from domain.pairs import PreferredPair
from domain.preferences import Method, Principle, effective_preference
from tests.builders import preference
from tests.tiny_model import CHAT_TEMPLATE, write_tiny_model, write_tiny_policy
from tests.worker.items import an_item, settings_for
from worker.supervision.protocol import DecoderUnavailableError
from worker.texts.decoder import TextDecoder, load_decoder
from worker.texts.formats import PAD, Message, with_principles
from worker.texts.prompts import encode


@pytest.fixture(scope="module")
def model_directories(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    directory = tmp_path_factory.mktemp("models")
    write_tiny_model(directory / "base")
    write_tiny_policy(directory / "policy", directory / "base")
    return directory / "base", directory / "policy"


@pytest.fixture(scope="module")
def decoder(model_directories: tuple[Path, Path]) -> TextDecoder:
    return load_decoder(settings_for(*model_directories))


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
    expected = str(tokenizer.decode(generated[0, prompt_ids.shape[1] :], skip_special_tokens=True))

    outcome = decode(decoder, [an_item(1, "tea")])[1]

    assert outcome.text == expected.rstrip("\N{REPLACEMENT CHARACTER}")  # it may end in half a character
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


class WithoutTorch(pickle.Unpickler):
    """Reads what the engine's process sends as a worker does that imports no more than `domain`."""

    def find_class(self, module_name: str, global_name: str) -> object:
        assert module_name.partition(".")[0] in {"builtins", "domain", "uuid"}, f"{module_name}.{global_name} is sent"
        return super().find_class(module_name, global_name)


def test_what_the_engines_process_sends_is_read_without_torch(decoder: TextDecoder) -> None:
    guided = preference("formal", method=Method.PAD, strength=1.0)
    pair = PreferredPair([{"role": "user", "content": "tea"}], "good", "bad")

    sent = [
        *decode(
            decoder, [an_item(1, "tea", guided, rewards=True, n=2, temperature=1.0), an_item(2, "long " * 200)]
        ).values(),
        decoder.description,
        *decoder.compare([pair], ["formal"]),
    ]

    for report in sent:
        assert WithoutTorch(io.BytesIO(pickle.dumps(report))).load() == report


def test_an_item_that_does_not_fit_fails_alone_with_both_numbers(decoder: TextDecoder) -> None:
    ended = decode(decoder, [an_item(1, "long " * 200), an_item(2, "tea")])

    assert ended[1].error_code is not None
    assert "512" in str(ended[1].error_message)
    assert ended[2].text


def test_a_stop_text_ends_the_answer_before_it(decoder: TextDecoder) -> None:
    whole = str(decode(decoder, [an_item(1, "tea")])[1].text)
    stop = whole[5:7]

    stopped = decode(decoder, [an_item(1, "tea", stop=[stop])])[1]

    assert stopped.text == whole[: whole.find(stop)].rstrip("\N{REPLACEMENT CHARACTER}")
    assert (stopped.finish_reason, stopped.stop_text) == ("stop", stop)
    assert decode(decoder, [an_item(2, "tea", stop=["unseen"])])[2].stop_text is None


def test_a_stop_text_before_the_minimum_length_neither_ends_nor_cuts_the_answer(decoder: TextDecoder) -> None:
    whole = decode(decoder, [an_item(1, "tea", min_tokens=16)])[1].text
    assert whole is not None

    kept = decode(decoder, [an_item(1, "tea", stop=[whole[:2]], min_tokens=16)])[1]

    assert (kept.text, kept.finish_reason) == (whole, "length")


def test_more_candidates_than_tokens_means_every_token(decoder: TextDecoder) -> None:
    ended = decode(decoder, [an_item(1, "tea", k=1000)])

    assert ended[1].error_code is None


def test_an_outcome_says_where_its_time_in_the_engine_went(decoder: TextDecoder) -> None:
    began = time.monotonic()
    outcomes = decode(decoder, [an_item(number, "tea") for number in range(1, 8)])  # more than there are slots
    passed = time.monotonic() - began

    timings = [outcome.timing for outcome in outcomes.values() if outcome.timing is not None]
    assert len(timings) == len(outcomes)
    assert all(0 < timing.seconds <= passed and timing.prefill_seconds > 0 for timing in timings)
    first, last = min(timings, key=lambda each: each.queue_seconds), max(timings, key=lambda each: each.queue_seconds)
    assert last.queue_seconds >= first.prefill_seconds


def test_a_cancelled_item_gives_no_outcome(decoder: TextDecoder) -> None:
    decoder.add(an_item(1, "tea"))
    decoder.add(an_item(2, "tea"))
    decoder.cancel(Attempt(1, 1))
    decoder.cancel(Attempt(77, 1))

    assert sorted(decode(decoder, [])) == [2]


def test_a_missing_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DecoderUnavailableError, match="PADSERVE_MODEL"):
        load_decoder(settings_for(tmp_path / "nothing"))
    with pytest.raises(DecoderUnavailableError, match="PADSERVE_MODEL"):
        load_decoder(settings_for(None))


def test_what_a_model_is_refused_for_names_the_setting_that_is_at_fault(
    model_directories: tuple[Path, Path], tmp_path: Path
) -> None:
    base, policy = model_directories
    wrong = {
        "PADSERVE_DEVICE": settings_for(base, policy, device="gpu"),
        "PADSERVE_DTYPE": settings_for(base, policy, dtype="float64"),
        "PADSERVE_MAX_LENGTH": settings_for(base, policy, max_length=10**9),
        "PADSERVE_CACHE_BYTES": settings_for(base, policy, cache_bytes=10),
        "PADSERVE_POLICY": settings_for(base, tmp_path / "nothing"),
    }

    for name, settings in wrong.items():
        with pytest.raises(DecoderUnavailableError, match=rf"\({name}\)$"):
            load_decoder(settings)


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
    pair = PreferredPair([{"role": "user", "content": "tea"}], "a good text", "another")

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
    good, long = PreferredPair(tea, "a", "b"), PreferredPair(tea, "word " * 5000, "b")

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

    monkeypatch.setattr("worker.texts.decoder.encode", watched)
    decoder = load_decoder(settings_for(*model_directories))
    prompt = "word " * 5000

    features = decoder.compare([PreferredPair([{"role": "user", "content": prompt}], "a", "b")], ["formal", "playful"])

    assert features == [None]
    assert encoded == [prompt]


def test_guidance_within_a_budget_says_what_it_cost(decoder: TextDecoder) -> None:
    free = preference("formal", "brief", strength=4.0)
    bounded = effective_preference(Method.CONTRAST, 4.0, free.principles, max_kl=0.1)

    ended = decode(decoder, [an_item(1, "tea", free), an_item(2, "tea", bounded), an_item(3, "tea")])

    assert ended[1].kl is not None
    assert ended[2].kl is not None
    assert ended[1].kl > 0.1 >= ended[2].kl - 1e-6
    assert ended[3].kl is None


def test_several_answers_differ_and_are_the_same_again(decoder: TextDecoder) -> None:
    item = an_item(1, "tea", preference("formal"), n=3, temperature=1.0, seed=7)

    first, again = (decode(decoder, [item])[1] for _ in range(2))
    alone = decode(decoder, [an_item(1, "tea", preference("formal"), temperature=1.0, seed=8)])[1]

    assert first._replace(timing=None) == again._replace(timing=None)
    assert first.choices is not None
    texts = [choice["text"] for choice in first.choices]
    assert len(set(texts)) == 3
    assert texts[1] == alone.text, "the second answer is the one of the next seed"


@pytest.mark.parametrize("method", [Method.MIXTURE, Method.CONTRAST, Method.PROMPT])
def test_a_base_alone_is_steered_by_every_method_but_pad(model_directories: tuple[Path, Path], method: Method) -> None:
    alone = load_decoder(settings_for(model_directories[0]))
    guided = effective_preference(method, 1.0, [Principle("formal", 2.0)], examples=["One text."])

    ended = decode(alone, [an_item(1, "tea", guided, k=None), an_item(2, "tea", k=None)])

    assert (ended[1].error_code, ended[2].error_code) == (None, None)
    assert ended[1].text != ended[2].text
    assert (ended[1].kl is None) == (method is Method.PROMPT)


def test_a_base_alone_and_a_guide_compare_texts(model_directories: tuple[Path, Path]) -> None:
    base, _ = model_directories
    pair = PreferredPair([{"role": "user", "content": "tea"}], "a good text", "another")

    own = load_decoder(settings_for(base)).compare([pair], ["formal"])
    guided = load_decoder(settings_for(base, guide=str(base))).compare([pair], ["formal"])

    assert own[0] is not None
    assert own[0] == pytest.approx(guided[0], abs=1e-4), "a guide that is the base is the base"
    assert abs(own[0][0]) > 1e-3


def test_the_same_files_as_policy_and_as_guide_are_two_models(model_directories: tuple[Path, Path]) -> None:
    base, policy = model_directories

    as_policy = load_decoder(settings_for(base, policy)).description
    as_guide = load_decoder(settings_for(base, guide=str(policy))).description

    assert as_policy.digest != as_guide.digest
    assert Method.PAD in set(as_policy.methods) - set(as_guide.methods)


def test_a_policy_and_a_guide_at_once_are_refused(model_directories: tuple[Path, Path]) -> None:
    with pytest.raises(DecoderUnavailableError, match="not both"):
        load_decoder(settings_for(*model_directories, guide="another"))


def test_a_card_that_is_wrong_refuses_the_start(model_directories: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text('{"format": "padd"}')

    with pytest.raises(DecoderUnavailableError, match=r"no format 'padd'.*PADSERVE_CARD"):
        load_decoder(settings_for(model_directories[0], card=str(tmp_path / "card.json")))


def test_a_template_that_raises_costs_its_item_alone(model_directories: tuple[Path, Path], tmp_path: Path) -> None:
    folder = tmp_path / "fragile"
    shutil.copytree(model_directories[0], folder)
    fragile = CHAT_TEMPLATE + "{% if 'hurt' in messages[0]['content'] %}{{ 1 + 'a' }}{% endif %}"
    (folder / "chat_template.jinja").write_text(fragile)

    ended = decode(load_decoder(settings_for(folder)), [an_item(1, "hurt"), an_item(2, "tea")])

    assert (ended[1].error_code, ended[2].error_code) == ("prompt_not_accepted", None)


def test_a_model_whose_template_refuses_everything_is_refused(
    model_directories: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(model_directories[0], folder)
    (folder / "chat_template.jinja").write_text("{{ 1 + 'a' }}")

    with pytest.raises(DecoderUnavailableError, match="No prompt can be written for this model"):
        load_decoder(settings_for(folder))


def test_what_was_found_at_load_is_logged(model_directories: tuple[Path, Path], tmp_path: Path) -> None:
    folder = tmp_path / "lost"
    shutil.copytree(model_directories[0], folder)
    (folder / "chat_template.jinja").unlink()

    with capture_logs() as logs:
        load_decoder(settings_for(folder))

    assert any("chat_template.jinja" in str(entry["message"]) for entry in logs if entry["event"] == "model_warning")
