"""The page at ``/docs``: what the API takes and gives, from its own description, as plain HTML that loads nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
pre, code { font-family: ui-monospace, monospace; }
pre { overflow-x: auto; padding: .75rem; border: 1px solid; border-radius: .25rem; }
h2 { margin-top: 2.5rem; border-top: 1px solid; padding-top: 1rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; } td, th { padding: .25rem .75rem .25rem 0; text-align: left; vertical-align: top; }
"""


def page(description: Mapping[str, Any]) -> str:
    """An OpenAPI description as a page to read."""
    shapes = description.get("components", {}).get("schemas", {})
    body = [f"<p>{escape(description['info'].get('description', ''))}</p>"]
    body.append('<p>The same for machines: <a href="openapi.json">openapi.json</a>. <a href="./">The studio</a>.</p>')
    for path, methods in description["paths"].items():
        for method, about in methods.items():
            body += _operation(method.upper(), path, about, shapes)
    title = escape(description["info"]["title"])
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>\n'
        f"<body><main><h1>{title}</h1>\n" + "\n".join(body) + "\n</main></body></html>\n"
    )


def _operation(method: str, path: str, about: Mapping[str, Any], shapes: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h2><code>{method} {escape(path)}</code></h2>"
    for paragraph in about.get("description", "").split("\n\n"):
        yield f"<p>{_text(paragraph)}</p>"
    rows = [
        (one["name"], one["in"], _kind(one["schema"]), one.get("description", ""))
        for one in about.get("parameters", ())
    ]
    if rows:
        yield _table(("name", "where", "what", "about"), rows)
    for kind, content in about.get("requestBody", {}).get("content", {}).items():
        yield f"<h3>Body: {escape(kind)}</h3>"
        yield from _shape(content["schema"], shapes)
    for status, answer in about["responses"].items():
        content = answer.get("content", {}).get("application/json", {})
        if status.startswith("2"):
            yield f"<h3>Answer: {status}</h3>"
            yield from _shape(content.get("schema", {}), shapes)
    problems = ", ".join(sorted(status for status in about["responses"] if not status.startswith("2")))
    if problems:
        yield f'<p>Otherwise ({problems}): <code>{{"error": "a sentence"}}</code></p>'


def _shape(schema: Mapping[str, Any], shapes: Mapping[str, Any]) -> Iterator[str]:
    found = _resolved(schema, shapes)
    if "properties" not in found:
        return
    rows = [(name, _kind(one), one.get("description", "")) for name, one in found["properties"].items()]
    yield _table(("field", "what", "about"), rows)
    examples = {name: one["examples"][0] for name, one in found["properties"].items() if "examples" in one}
    if examples:
        yield f"<pre>{escape(json.dumps(examples, indent=2))}</pre>"


def _resolved(schema: Mapping[str, Any], shapes: Mapping[str, Any]) -> Mapping[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return shapes[name] if name else schema


def _kind(schema: Mapping[str, Any]) -> str:
    """A type in words: ``text``, ``list of span``, ``number or nothing``."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2]).removesuffix("Shown").lower()
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    names = {"string": "text", "integer": "whole number", "boolean": "true or false", "null": "nothing"}
    kind = str(schema.get("type", "anything"))
    return names.get(kind, kind)


def _text(words: str) -> str:
    """Words as HTML, with what stands between backquotes as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(words))


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    first = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    rest = "".join(
        f'<tr><th scope="row"><code>{escape(row[0])}</code></th>'
        + "".join(f"<td>{_text(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return f"<table><tr>{first}</tr>{rest}</table>"
