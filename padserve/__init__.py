"""What people import or type: the Python client, the command line and the local stack."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from padserve.client.answers import (
        Counts,
        DryRun,
        Feedback,
        Fit,
        FitError,
        Holdout,
        ImportReport,
        ItemError,
        Job,
        Learned,
        Model,
        Principle,
        Profile,
        Result,
        Usage,
    )
    from padserve.client.async_client import AsyncClient
    from padserve.client.campaigns import Preview, PreviewedUser
    from padserve.client.client import Client
    from padserve.client.comparison import Trial
    from padserve.client.endpoints import Campaign
    from padserve.client.profile_previews import PreviewedText, ProfilePreview, Token, TokenCandidate, TokenRewards
    from padserve.errors import (
        ApiError,
        AuthenticationError,
        ComparisonError,
        ConflictError,
        IncompleteResultsError,
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
        UnreadableAnswerError,
    )

_MODULES = {
    "AsyncClient": "client.async_client",
    "Client": "client.client",
    "Campaign": "client.endpoints",
    "Preview": "client.campaigns",
    "PreviewedUser": "client.campaigns",
    **dict.fromkeys(
        ("PreviewedText", "ProfilePreview", "Token", "TokenCandidate", "TokenRewards"), "client.profile_previews"
    ),
    "Trial": "client.comparison",
}
_ANSWERS = frozenset(
    {
        *("Counts", "Feedback", "Fit", "FitError", "ImportReport", "ItemError", "Job", "Learned", "Model"),
        *("DryRun", "Holdout", "Principle", "Profile", "Result", "Usage"),
    }
)

__all__ = [
    "ApiError",
    "AsyncClient",
    "AuthenticationError",
    "Campaign",
    "Client",
    "ComparisonError",
    "ConflictError",
    "Counts",
    "DryRun",
    "Feedback",
    "Fit",
    "FitError",
    "Holdout",
    "ImportReport",
    "IncompleteResultsError",
    "InvalidRequestError",
    "ItemError",
    "Job",
    "JobTimeoutError",
    "Learned",
    "LineError",
    "Model",
    "NotFoundError",
    "PadserveError",
    "Preview",
    "PreviewedText",
    "PreviewedUser",
    "Principle",
    "Profile",
    "ProfilePreview",
    "RateLimitedError",
    "Result",
    "ServerError",
    "SettingsError",
    "SourceError",
    "StackError",
    "Token",
    "TokenCandidate",
    "TokenRewards",
    "Trial",
    "UnreachableError",
    "UnreadableAnswerError",
    "Usage",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used: completion in a shell must not wait for an HTTP client."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = _MODULES.get(name) or ("client.answers" if name in _ANSWERS else "errors")
        return getattr(import_module(f"{__name__}.{module}"), name)
