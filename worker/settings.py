"""What a worker process needs to know, built once at its entry."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from db.model_names import model_name


class WorkerSettings(BaseSettings):
    """Settings of one worker, from `PADSERVE_*`; the command line refuses names that nobody knows."""

    model_config = SettingsConfigDict(env_prefix="PADSERVE_", frozen=True, extra="ignore", env_ignore_empty=True)

    database_url: str
    redis_url: str
    model: str | None = None
    model_name: str | None = None
    """What the model is called; where nobody says, by a folder's last component or the hub id."""
    model_aliases: str = ""
    """Other names for it, separated by commas."""
    policy: str | None = None
    guide: str | None = None
    """A model of the same vocabulary that guides `mixture` where there is no policy."""
    card: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    num_slots: int | None = Field(default=None, ge=1)
    max_length: int | None = Field(default=None, ge=2)
    cache_bytes: int | None = Field(default=None, ge=1)
    """What the key-value cache may take; by default, a share of the memory that is free beside the models."""
    lease_seconds: float = Field(default=30.0, ge=1)
    max_attempts: int = Field(default=5, ge=1)
    engine_start_seconds: float = Field(default=900.0, gt=0)
    engine_silence_seconds: float = Field(default=120.0, gt=0)
    time_slice_seconds: float = Field(default=600.0, gt=0)
    drain_seconds: float = Field(default=20.0, ge=0)
    reconcile_seconds: float = Field(default=2.0, gt=0)

    @property
    def name(self) -> str | None:
        """What jobs call the model; None without one."""
        return self.model_name or (model_name(self.model) if self.model else None)

    @property
    def aliases(self) -> tuple[str, ...]:
        """What else jobs may call it."""
        return tuple(dict.fromkeys(alias for text in self.model_aliases.split(",") if (alias := text.strip())))
