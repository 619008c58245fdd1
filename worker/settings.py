"""What a worker process needs to know, built once at its entry."""

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from domain.model_names import LONGEST_NAME, is_name, model_name

HOUR, DAY = 3600, 86_400
MOST_ATTEMPTS = 1000
MOST_SLOTS = 65_536
MOST_DEVICES = 64


class WorkerSettings(BaseSettings):
    """Settings of one worker, from `PADSERVE_*`; the command line refuses names that nobody knows."""

    model_config = SettingsConfigDict(env_prefix="PADSERVE_", frozen=True, extra="ignore", env_ignore_empty=True)

    database_url: str
    """PostgreSQL (`postgresql://...`) or SQLite (`sqlite:///...`); `padserve up` sets a private one."""
    redis_url: str
    """Where workers are woken; `padserve up` starts a private one."""
    model: str | None = None
    """The base model: a folder or a hub id."""
    model_name: str | None = None
    """What the model is called; where nobody says, by a folder's last component or the hub id."""
    model_aliases: str = ""
    """Other names for it, separated by commas."""
    policy: str | None = None
    """The personalised reward model: an adapter on the base or on PADSERVE_REFERENCE, or a model."""
    reference: str | None = None
    """The model that the policy was trained on, where that is not the base: its tokenizer may be another."""
    guide: str | None = None
    """A model that guides `mixture` where there is no policy."""
    card: str | None = None
    """A card (`padserve.json`) elsewhere than beside the weights, as for hub ids."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:1`; with `PADSERVE_TENSOR_PARALLEL`, several: `cuda:2,cuda:3`."""
    tensor_parallel: int = Field(default=1, ge=1, le=MOST_DEVICES)
    """How many devices hold the model together: those that `PADSERVE_DEVICE` names, or the first ones."""
    dtype: str = "auto"
    """`auto`, `float32`, `bfloat16` or `float16`."""
    num_slots: int | None = Field(default=None, ge=1, le=MOST_SLOTS)
    """Items decoded at once; as many as fit the memory if unset."""
    max_length: int | None = Field(default=None, ge=2)
    """Tokens of prompt and completion together; the model's own limit, or what fits, if unset."""
    cache_bytes: int | None = Field(default=None, ge=1)
    """What the key-value cache may take on each device; by default, a share of the memory free beside the models."""
    lease_seconds: float = Field(default=30.0, ge=1, le=DAY)
    """After this long without a sign of life, a worker's items are given to others."""
    max_attempts: int = Field(default=5, ge=1, le=MOST_ATTEMPTS)
    """As many attempts as may end with the engine's death before an item fails; as many tries a fit of feedback has."""
    engine_start_seconds: float = Field(default=900.0, ge=1, le=DAY)
    """How long loading the model may take."""
    engine_silence_seconds: float = Field(default=120.0, ge=3, le=DAY)
    """After this long without a word the engine is killed and started again."""
    time_slice_seconds: float = Field(default=600.0, ge=0.1, le=DAY)
    """How long one Celery task goes on claiming before it lets the next one begin."""
    drain_seconds: float = Field(default=20.0, ge=0, le=DAY)
    """How long a worker that is told to end goes on with what it holds; the rest is given back."""
    reconcile_seconds: float = Field(default=2.0, ge=0.05, le=HOUR)
    """How often a worker looks for lost leases, missed wake-ups and jobs that should have ended."""
    metrics_port: int | None = Field(default=None, ge=1, le=65535)
    """Where Prometheus finds what this worker counts, at `/metrics`; nowhere without it."""
    metrics_host: str = "127.0.0.1"
    """The address of that port: whoever reaches it may read it."""

    @field_validator("model_name", "model_aliases")
    @classmethod
    def _can_be_asked_for(cls, text: str | None, field: ValidationInfo) -> str | None:
        if text is None:
            return None
        names = [text] if field.field_name == "model_name" else _listed(text)
        if not all(map(is_name, names)):
            raise ValueError(f"must be of 1 to {LONGEST_NAME} printable characters without @")
        return text

    @property
    def name(self) -> str | None:
        """What jobs call the model; None without one."""
        return self.model_name or (model_name(self.model) if self.model else None)

    @property
    def aliases(self) -> tuple[str, ...]:
        """What else jobs may call it."""
        return tuple(dict.fromkeys(_listed(self.model_aliases)))


def _listed(text: str) -> list[str]:
    return [part for each in text.split(",") if (part := each.strip())]
