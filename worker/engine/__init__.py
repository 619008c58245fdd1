"""The decoding engine: many requests at once, each steered while it is decoded. Token ids only; no text.

Imports torch, transformers and peft, and nothing of this project. `docs/explanation/engine.md` is the way into it.

    engine = load_engine("path/to/model", policy="path/to/adapter")
    pad = (Stream("base", prompt, reward=-1.0), Stream("policy", prompt, reward=1.0))
    for outcome in engine.generate([Request(0, pad, strength=0.8)]):
        ...
"""

from worker.engine.checkpoints.checkpoint import Checkpoint
from worker.engine.checkpoints.generation import GenerationDefaults
from worker.engine.checkpoints.hub import local_folder
from worker.engine.engine import Engine
from worker.engine.errors import EngineError, ModelError, OutOfMemoryError, RequestError
from worker.engine.loading.assembly import load_engine
from worker.engine.request import (
    CandidateReward,
    Completion,
    Failure,
    FinishReason,
    Request,
    Score,
    ScoreRequest,
    StopCondition,
    Stream,
    Timing,
    TokenReward,
    TokenRewards,
)
from worker.engine.statistics import EngineStatistics

__all__ = [
    "CandidateReward",
    "Checkpoint",
    "Completion",
    "Engine",
    "EngineError",
    "EngineStatistics",
    "Failure",
    "FinishReason",
    "GenerationDefaults",
    "ModelError",
    "OutOfMemoryError",
    "Request",
    "RequestError",
    "Score",
    "ScoreRequest",
    "StopCondition",
    "Stream",
    "Timing",
    "TokenReward",
    "TokenRewards",
    "load_engine",
    "local_folder",
]
