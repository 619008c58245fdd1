"""The API's settings. Built once, at the entry, and passed down; nothing here is read at import."""

import re

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from domain.states import UnknownUsers

MEBIBYTE = 2**20
_ROOT_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+/?|/")
_CREDENTIAL = re.compile(r"[!-~]+")


class Settings(BaseSettings):
    """What the API must know, each from `PADSERVE_<NAME>`; the settings of other processes are none of its business."""

    model_config = SettingsConfigDict(env_prefix="PADSERVE_", frozen=True, extra="ignore", env_ignore_empty=True)

    database_url: str
    """PostgreSQL (`postgresql://...`) or SQLite (`sqlite:///...`); `padserve up` sets a private one."""
    redis_url: str
    """Where workers are woken; `padserve up` starts a private one."""
    host: str = "127.0.0.1"
    """The address that the API listens on."""
    port: int = Field(default=8000, ge=0, le=65535)
    """The port that the API listens on; 0 is any free one."""
    root_path: str = Field(default="", max_length=256)
    """What a proxy in front takes off each path, as `/padserve`: links, cookies and `Location` begin with it."""
    max_body_bytes: int = Field(default=200 * MEBIBYTE, ge=1)
    """Largest body of a request in NDJSON or CSV, or of a file."""
    max_json_bytes: int = Field(default=16 * MEBIBYTE, ge=1)
    """Largest body that is one JSON value."""
    max_items: int = Field(default=200_000, ge=1)
    """Most items of a job or requests of a batch."""
    max_import_profiles: int = Field(default=200_000, ge=1)
    """Most profiles of one import."""
    max_prompt_characters: int = Field(default=32_000, ge=1)
    """Longest prompt of an item, in characters, its conversation included."""
    unknown_users: UnknownUsers = UnknownUsers.UNGUIDED
    """What a user without a profile gets from vendors' clients, in tenants for which nothing else was set."""
    webhook_private_addresses: bool = False
    """Whether events may be sent to addresses that are not public, and without TLS: for development."""
    metrics_token: SecretStr | None = Field(default=None, min_length=16, max_length=1024)
    """What Prometheus must send to read `/metrics`; without it nobody may."""

    @field_validator("root_path")
    @classmethod
    def _is_a_path(cls, path: str) -> str:
        """What stands before the paths of routes, which begin with a slash; a slash at its end is dropped."""
        if path and not _ROOT_PATH.fullmatch(path):
            raise ValueError("must be a path like /padserve: letters, digits, -, ., _ and ~ behind each slash")
        return path.rstrip("/")

    @field_validator("metrics_token")
    @classmethod
    def _can_be_sent(cls, token: SecretStr | None) -> SecretStr | None:
        """As a header: what holds a space or a line's end is not one credential, and beyond ASCII nobody agrees."""
        if token is not None and not _CREDENTIAL.fullmatch(token.get_secret_value()):
            raise ValueError("must be letters, digits and signs of ASCII, without spaces")
        return token
