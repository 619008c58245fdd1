"""The API's settings. Built once, at the entry, and passed down; nothing here is read at import."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from db.model_names import model_name
from db.preferences import METHODS_WITH_POLICY, Method

MEBIBYTE = 2**20


class Settings(BaseSettings):
    """What the API must know, each from `PADSERVE_<NAME>`; the settings of other processes are none of its business."""

    model_config = SettingsConfigDict(env_prefix="PADSERVE_", frozen=True, extra="ignore", env_ignore_empty=True)

    database_url: str
    redis_url: str
    model: str | None = None
    policy: str | None = None
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    max_body_bytes: int = Field(default=200 * MEBIBYTE, ge=1)
    max_json_bytes: int = Field(default=16 * MEBIBYTE, ge=1)
    max_items: int = Field(default=200_000, ge=1)
    max_import_profiles: int = Field(default=200_000, ge=1)
    max_prompt_characters: int = Field(default=32_000, ge=1)

    @property
    def model_name(self) -> str | None:
        """The name clients know the model by: a folder's last component, or the hub id; None without a model."""
        return model_name(self.model) if self.model else None

    @property
    def default_method(self) -> Method:
        """How an item is steered when neither it nor its profile says."""
        return Method.PAD if self.policy else Method.CONTRAST

    @property
    def methods(self) -> tuple[Method, ...]:
        """The methods this deployment can decode with."""
        return tuple(method for method in Method if self.policy or method not in METHODS_WITH_POLICY)
