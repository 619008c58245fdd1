import json
from tempfile import gettempdir

import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from examples.demo.decoding import DemoModels
from examples.demo.evaluate import GUIDED, UNGUIDED, carries, held_out_requests
from examples.demo.grammar import is_well_formed
from examples.demo.principles import BY_NAME, SEEN
from examples.demo.train import MODEL
from worker.texts.formats import Message
from worker.texts.prompts import encode


@pytest.fixture(scope="module")
def models() -> DemoModels:
    return DemoModels.load(MODEL / "base", MODEL / "policy")


def test_a_topic_that_training_never_saw_is_carried_into_the_text() -> None:
    tokenizer = AutoTokenizer.from_pretrained(MODEL / "base")
    model = LlamaForCausalLM.from_pretrained(MODEL / "base", dtype=torch.float32)

    for topic in ("kroosen", "telescope", "zagaig", "mirsket"):
        ids = encode(tokenizer, [Message(role="user", content=f"Write a reminder about the {topic}.")])
        # Its annotation wants a protocol that no model class meets.
        output = model.generate(torch.tensor([ids]), max_new_tokens=80, do_sample=False)  # type: ignore[misc]
        assert carries(str(tokenizer.decode(output[0, len(ids) :])), topic)


def test_guided_texts_keep_what_was_asked_for_and_read_well(models: DemoModels) -> None:
    requests = held_out_requests(seed=9, num_requests=32)
    wanted = [SEEN[index % len(SEEN)] for index in range(len(requests))]

    prompts = [request.prompt for request in requests]
    guided = models.write(prompts, [(BY_NAME[name].wordings[0],) for name in wanted], GUIDED)
    unguided = models.write(prompts, [()] * len(prompts), UNGUIDED)

    def num_kept(texts: list[str]) -> int:
        return sum(BY_NAME[name].satisfies(text) for name, text in zip(wanted, texts, strict=True))

    assert num_kept(guided) >= 29
    assert num_kept(unguided) <= 12
    for texts in (guided, unguided):
        rows = list(zip(requests, texts, strict=True))
        # Nine in ten, as the model card says: real words in pieces that no training topic had are sometimes misspelt.
        assert sum(carries(text, request.topic) for request, text in rows) >= 26
        assert sum(is_well_formed(text, request.topic, request.name) for request, text in rows) >= 19


def test_the_models_are_small(models: DemoModels) -> None:
    num_bytes = sum(path.stat().st_size for path in MODEL.rglob("*") if path.is_file())

    assert num_bytes <= 30e6
    assert sum(parameter.numel() for parameter in models.base.parameters()) <= 10_000_000


def test_nothing_shipped_names_a_folder_of_the_machine_that_trained_it() -> None:
    adapter = json.loads((MODEL / "policy" / "adapter_config.json").read_text())
    texts = [path.read_text() for path in MODEL.rglob("*") if path.suffix in {".json", ".md", ".jinja"}]

    assert adapter["base_model_name_or_path"] == "examples/demo/model/base"
    assert not any(str(MODEL.parent) in text or gettempdir() in text for text in texts)
