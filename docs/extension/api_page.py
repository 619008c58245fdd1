"""docs/reference/api.md: routes and schemas, read out of the OpenAPI document that the API serves."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from api.app import create_app
from api.documentation import TAGS
from api.settings import Settings
from docs.extension.markdown import WRITTEN, code, table

METHODS = ("get", "post", "put", "patch", "delete")
Document = Mapping[str, Any]  # JSON, as OpenAPI 3.1 has it


def document() -> Document:
    """The OpenAPI document; nothing is connected to."""
    settings = Settings(database_url="sqlite:///nowhere.db", redis_url="redis://nowhere.invalid")
    return create_app(settings).openapi()


def render() -> str:
    """The page."""
    described = document()
    lines = [
        WRITTEN,
        "",
        "# HTTP API",
        "",
        "A running server shows the same at `/docs`, to be tried, and as OpenAPI at `/openapi.json`. Requests carry",
        "`Authorization: Bearer <key>`. A failure is an RFC 9457 problem (`application/problem+json`) with a stable",
        "`code`; every answer carries `X-Request-ID`.",
        "",
    ]
    for tag in TAGS:
        lines += [f"## {tag['name']}", "", tag["description"], ""]
        for path, method, operation in operations(described):
            if tag["name"] in operation.get("tags", ["health"]):
                lines += [*_operation(path, method, operation)]
    lines += ["## Schemas", ""]
    for name, schema in sorted(described["components"]["schemas"].items()):
        lines += [*_schema(name, schema)]
    return "\n".join(lines).rstrip() + "\n"


def operations(described: Document) -> Iterator[tuple[str, str, Document]]:
    """Path, method and operation of every documented route, in the document's order."""
    for path, methods in described["paths"].items():
        for method in METHODS:
            if method in methods:
                yield path, method, methods[method]


def _operation(path: str, method: str, operation: Document) -> Iterator[str]:
    yield from (f"### {method.upper()} {path}", "", operation.get("summary", ""), "")
    if operation.get("description"):
        yield from (operation["description"], "")
    rows = [
        (code(given["name"]), given["in"], _type(given.get("schema", {})), given.get("description", ""))
        for given in operation.get("parameters", ())
    ]
    yield from table(("parameter", "in", "type", "meaning"), rows)
    content = operation.get("requestBody", {}).get("content", {})
    bodies = [f"{code(kind)}: {_type(body.get('schema', {})) or 'text'}" for kind, body in content.items()]
    if bodies:
        yield from ("Body: " + "; ".join(bodies) + ".", "")
    yield from table(
        ("status", "answer"), [(code(status), _answer(said)) for status, said in operation["responses"].items()]
    )


def _answer(said: Document) -> str:
    types = {_type(body.get("schema", {})) for body in said.get("content", {}).values()} - {""}
    return ": ".join(filter(None, (said.get("description", "").rstrip("."), ", ".join(sorted(types)))))


def _schema(name: str, schema: Document) -> Iterator[str]:
    yield from (f"### {_short(name)}", "")
    if schema.get("description"):
        yield from (_escaped(schema["description"]), "")
    if "enum" in schema:
        yield from ("One of " + ", ".join(code(value) for value in schema["enum"]) + ".", "")
    required: Sequence[str] = schema.get("required", ())
    rows = [
        (
            code(field),
            _type(said) + ("" if field in required else ", optional"),
            _default(said),
            _escaped(said.get("description", "")),
        )
        for field, said in schema.get("properties", {}).items()
    ]
    yield from table(("field", "type", "default", "meaning"), rows)


def _type(schema: Document) -> str:
    """A schema in words, its references as links."""
    if "$ref" in schema:
        name = _short(schema["$ref"].rsplit("/", 1)[1])
        return f"[{name}](#{name.lower()})"
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    if alternatives:
        return " or ".join(dict.fromkeys(filter(None, map(_type, alternatives))))
    values = schema.get("enum") or [schema[name] for name in ("const",) if name in schema]
    return " or ".join(map(code, values)) if values else _plain_type(schema)


def _plain_type(schema: Document) -> str:
    """A schema without references of its own, alternatives or listed values."""
    match schema.get("type"):
        case "array":
            return f"list of {_type(schema.get('items', {})) or 'anything'}"
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            return f"object of {_type(schema['additionalProperties']) or 'anything'}"
        case str(name):
            return name
    return ""


def _default(schema: Document) -> str:
    return code(schema["default"]) if schema.get("default") not in (None, "") else ""


def _short(name: str) -> str:
    """A schema's name without the module that tells it apart."""
    return name.replace("__", "-")


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace("{", "&#123;") if "`" not in text else text
