"""Where the application lies below its host, and where a request lies in it: a proxy may take a prefix off paths.

The server puts the prefix that it was told (`PADSERVE_ROOT_PATH`) before the path that it was sent: `path` is the whole
path, as clients know it, and `root_path` the part of it before the application, as ASGI has it.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Depends
from starlette.requests import Request


def root_of(request: Request) -> str:
    """What stands before every path of the application, for links that clients follow; empty where nothing does."""
    root: str = request.scope.get("root_path", "")
    return root.rstrip("/")


RootPath = Annotated[str, Depends(root_of)]


def path_in(scope: Mapping[str, Any]) -> str:
    """The path as the application's routes have it. To be asked before a mounted application changes the scope."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))
