"""What ends a completion: what configurations, tokenizer and chat template say, all of it together."""

import json
import shutil
from pathlib import Path

import pytest

from tests.engine.models import Family, llama, save, save_tokenizer, tiny
from worker.engine import load_engine
from worker.engine.checkpoints.tokenizer_files import TokenizerFiles
from worker.engine.loading.reading import eos_token_ids_of

SPECIAL = {"<s>": 90, "</s>": 91, "<|im_start|>": 92, "<|im_end|>": 93, "<|im": 94}
TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


def ends(folder: Path) -> frozenset[int]:
    return TokenizerFiles(folder).end_ids


def test_model_and_generation_configuration_are_united(tmp_path: Path) -> None:
    model = llama(seed=0, eos_token_id=96)
    model.generation_config.eos_token_id = [7, 8]

    assert load_engine(save(model, tmp_path)).eos_token_ids == {7, 8, 96}


def test_the_tokenizer_and_its_template_add_theirs(families: dict[str, Family], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(families["llama"].base, tmp_path / "base"))
    config = {"eos_token": "</s>", "chat_template": TURNS}
    save_tokenizer(folder, special=SPECIAL, config=config)

    assert load_engine(str(folder)).eos_token_ids == {91, 93, 96}


@pytest.mark.parametrize("eos", ["</s>", {"content": "</s>", "lstrip": False}], ids=["by name", "as an object"])
def test_the_end_of_sequence_that_a_tokenizer_names(tmp_path: Path, eos: object) -> None:
    save_tokenizer(tmp_path, special=SPECIAL, config={"eos_token": eos})

    assert ends(tmp_path) == {91}


def test_the_end_of_sequence_in_a_special_tokens_map(tmp_path: Path) -> None:
    save_tokenizer(tmp_path, special=SPECIAL)
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"eos_token": "</s>"}))

    assert ends(tmp_path) == {91}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (TURNS, {93}),
        ("{{ bos_token }}{% for m in messages %}{{ m.content }} {{ eos_token }}{% endfor %}", {91}),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", set()),
        ("{% for m in messages %}{{ m.content }} END <|im_end|>{% endfor %}", set()),
        ("{% for m in messages %}{{ m.content }}w5{% endfor %}", set()),
        ("{{ raise_exception('no') }}", set()),
        ("{{ broken", set()),
        ([{"name": "tools", "template": "{{ 1 }}"}, {"name": "default", "template": TURNS}], {93}),
        ([{"name": "tools", "template": TURNS}], set()),
    ],
    ids=["chatml", "eos", "nothing", "text first", "a word", "raises", "broken", "named", "no default"],
)
def test_the_special_token_directly_behind_an_answer_ends_it(
    tmp_path: Path, template: object, expected: set[int]
) -> None:
    tokens: dict[str, object] = {"bos_token": "<s>", "eos_token": "</s>" if expected == {91} else None}
    save_tokenizer(tmp_path, special=SPECIAL, config=tokens | {"chat_template": template})

    assert ends(tmp_path) == expected


def test_a_template_in_a_file_of_its_own_comes_first(tmp_path: Path) -> None:
    other = "{% for m in messages %}{{ m.content }}</s>{% endfor %}"
    save_tokenizer(tmp_path, special=SPECIAL, config={"chat_template": other})
    (tmp_path / "chat_template.jinja").write_text(TURNS)

    assert ends(tmp_path) == {93}


def test_a_configuration_without_the_entry_names_no_end() -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 32}
    model = tiny("roc_bert", seed=0, shape_vocab_size=9, pronunciation_vocab_size=9, vocab_size=97, **sizes)
    assert not hasattr(model.config, "eos_token_id")

    assert eos_token_ids_of(model) == frozenset()
