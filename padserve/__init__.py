"""What people import or type: the Python client, the command line and the local stack."""

from padserve.answers import Counts, ImportReport, ItemError, Job, Principle, Profile, Result, Usage
from padserve.client import Campaign, Client
from padserve.errors import (
    ApiError,
    AuthenticationError,
    ConflictError,
    InvalidRequestError,
    JobTimeoutError,
    LineError,
    NotFoundError,
    PadserveError,
    RateLimitedError,
    ServerError,
    SettingsError,
    SourceError,
    StackError,
    UnreachableError,
)

__all__ = [
    "ApiError",
    "AuthenticationError",
    "Campaign",
    "Client",
    "ConflictError",
    "Counts",
    "ImportReport",
    "InvalidRequestError",
    "ItemError",
    "Job",
    "JobTimeoutError",
    "LineError",
    "NotFoundError",
    "PadserveError",
    "Principle",
    "Profile",
    "RateLimitedError",
    "Result",
    "ServerError",
    "SettingsError",
    "SourceError",
    "StackError",
    "UnreachableError",
    "Usage",
]
