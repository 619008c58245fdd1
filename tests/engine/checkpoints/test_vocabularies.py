"""Whether token ids mean the same to base and policy is compared by whatever tokenizer files there are."""

import json
import shutil
from pathlib import Path

import pytest

from tests.engine.models import VOCAB_SIZE, Family, change, llama, save, save_tokenizer
from worker.engine import load_engine
from worker.engine.errors import VocabularyMismatchError

END = {"<end>": 96}


@pytest.fixture
def base(families: dict[str, Family], tmp_path: Path) -> Path:
    """With a tokenizer.json."""
    folder = Path(shutil.copytree(families["llama"].base, tmp_path / "base"))
    save_tokenizer(folder, special=END)
    return folder


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A whole model without tokenizer files."""
    return Path(save(llama(seed=1), tmp_path / "policy"))


def refusal(base: Path, policy: Path) -> str:
    with pytest.raises(VocabularyMismatchError) as refused:
        load_engine(str(base), str(policy))
    return str(refused.value)


def words(size: int = VOCAB_SIZE - 1) -> dict[str, int]:
    return {f"w{number}": number for number in range(size)}


def test_the_same_tokenizer_is_accepted_and_another_refused(base: Path, policy: Path) -> None:
    save_tokenizer(policy, special=END)
    change(policy / "tokenizer.json", version="2")

    assert load_engine(str(base), str(policy)).weights == ("base", "policy")

    change(policy / "tokenizer.json", model={"vocab": words() | {"w3": 4, "w4": 3}})
    assert "their tokenizers differ: 'w3' is token 4 there and 3 in the base" in refusal(base, policy)


def test_a_token_that_only_one_of_them_has_is_named(base: Path, policy: Path) -> None:
    save_tokenizer(policy, special=END | {"<pad>": 95})

    assert "only one of them has 'w95'" in refusal(base, policy)


def test_a_vocab_json_is_compared_and_may_leave_out_what_was_added(base: Path, policy: Path) -> None:
    (policy / "vocab.json").write_text(json.dumps(words()))

    assert load_engine(str(base), str(policy)).weights == ("base", "policy")

    (policy / "vocab.json").write_text(json.dumps(words() | {"w3": 4, "w4": 3}))
    assert "their tokenizers differ" in refusal(base, policy)
    (policy / "vocab.json").write_text(json.dumps(words(50)))
    assert "only one of them has 'w50'" in refusal(base, policy)


def test_tokens_that_were_added_count_beside_a_vocab_json(base: Path, policy: Path) -> None:
    (policy / "vocab.json").write_text(json.dumps(words()))
    (policy / "added_tokens.json").write_text(json.dumps({"<end>": 95}))

    assert "'<end>' is token 95 there and 96 in the base" in refusal(base, policy)


def test_a_policy_without_tokenizer_files_is_refused_with_what_to_do(base: Path, policy: Path) -> None:
    assert "copy those that it was trained with beside its weights" in refusal(base, policy)


def test_a_base_without_tokenizer_files_is_not_compared_with_a_policy_that_has_some(
    families: dict[str, Family], policy: Path
) -> None:
    save_tokenizer(policy)

    assert "put its tokenizer.json there" in refusal(Path(families["llama"].base), policy)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model", "tokenizer_config.json"])
def test_a_tokenizer_that_cannot_be_read_is_refused(base: Path, policy: Path, name: str) -> None:
    (policy / name).write_text("{")

    assert "save the tokenizer again as tokenizer.json" in refusal(base, policy)


def test_models_without_any_tokenizer_go_together(families: dict[str, Family], policy: Path) -> None:
    assert load_engine(families["llama"].base, str(policy)).weights == ("base", "policy")


def test_an_adapter_needs_no_tokenizer_and_may_add_tokens_of_its_own(
    base: Path, families: dict[str, Family], tmp_path: Path
) -> None:
    adapter = Path(shutil.copytree(families["llama"].policy, tmp_path / "adapter"))

    assert load_engine(str(base), str(adapter)).weights == ("base", "policy")

    save_tokenizer(adapter, size=VOCAB_SIZE, special=END | {"<pad>": 97})
    assert load_engine(str(base), str(adapter)).weights == ("base", "policy")


def test_an_adapter_whose_tokenizer_numbers_tokens_differently_is_refused(
    base: Path, families: dict[str, Family], tmp_path: Path
) -> None:
    adapter = Path(shutil.copytree(families["llama"].policy, tmp_path / "adapter"))
    save_tokenizer(adapter, special={"<end>": 95})

    assert "'<end>' is token 95 there and 96 in the base" in refusal(base, adapter)
