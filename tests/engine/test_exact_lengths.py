"""Up to how many tokens a model is decoded exactly, as its configuration tells."""

import pytest
from transformers import Gemma2Config, Llama4TextConfig, LlamaConfig, MistralConfig, Phi3Config, Qwen2Config

from worker.engine.checkpoints.architecture import longest_exact, window

DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
LONG = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "original_max_position_embeddings": 80,
    "short_factor": [1.0] * 64,
    "long_factor": [1.0] * 64,
}


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        (LlamaConfig(max_position_embeddings=500), 500),
        (MistralConfig(max_position_embeddings=500, sliding_window=60), 500),
        (MistralConfig(max_position_embeddings=500, sliding_window=None), 500),
        (Llama4TextConfig(max_position_embeddings=500, attention_chunk_size=70), 70),
        (LlamaConfig(max_position_embeddings=500, rope_parameters=DYNAMIC), 500),
        (LlamaConfig(max_position_embeddings=500, rope_parameters=LONG), 80),
    ],
    ids=["positions", "window", "no window", "chunks", "dynamic rope", "long rope"],
)
def test_the_longest_exact_length(config: LlamaConfig, limit: int) -> None:
    assert longest_exact(config) == limit


@pytest.mark.parametrize(
    ("config", "size"),
    [
        (LlamaConfig(), None),
        (MistralConfig(sliding_window=60), 60),
        (MistralConfig(sliding_window=None), None),
        (Phi3Config(sliding_window=70), 70),
        (Qwen2Config(use_sliding_window=False, sliding_window=70), None),
        (Qwen2Config(use_sliding_window=True, sliding_window=70, max_window_layers=1), 70),
        (Gemma2Config(sliding_window=80), 80),
    ],
    ids=["llama", "mistral", "mistral without", "phi3", "qwen2 without", "qwen2 in some layers", "gemma2"],
)
def test_the_window_is_that_of_the_layers_that_have_one(config: LlamaConfig, size: int | None) -> None:
    assert window(config) == size
