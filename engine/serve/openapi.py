"""What a served run takes and says, as OpenAPI 3.1."""

from typing import Any

from engine.serve import reading
from engine.serve.model import Model
from engine.sets.features import Number

_REFUSALS = {
    "408": "the body does not arrive", "413": "too many bytes, pixels or rows",
    "415": "content of another kind", "422": "content of that kind, and wrong",
    "429": "too many requests: Retry-After says when", "500": "the server failed",
}


def of(model: Model) -> dict[str, Any]:
    """The document, as JSON's values."""
    error = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
    answers: dict[str, Any] = {"200": _content("what the model says", _answer(model))}
    answers |= {status: _content(text, error) for status, text in _REFUSALS.items()}
    return {
        "openapi": "3.1.0",
        "info": {"title": model.run.path.name, "version": str(int(model.run.state.step)),
                 "description": "A model that flaxmill trained and serves."},
        "paths": {
            "/predict": {"post": {
                "operationId": "predict", "summary": "What the model says",
                "requestBody": {"required": True, "content": _taken(model)}, "responses": answers}},
            "/model": {"get": {"operationId": "model", "summary": "What it takes and says",
                               "responses": {"200": _content("as in model.json", {})}}},
            "/health": {"get": {"operationId": "health", "summary": "Whether it answers",
                                "responses": {"200": _content("it does", {})}}},
        },
    }


def _content(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _taken(model: Model) -> dict[str, Any]:
    """The bodies that it takes, by their content type."""
    if model.kind == "pictures":
        return {kind: {"schema": {"type": "string", "format": "binary"}}
                for kind in ("image/*", "application/octet-stream")}
    if model.kind == "numbers":
        return _json("inputs", _nested(model.run.input_shape))
    columns: Any = model.run.columns.columns if model.run.columns else ()
    if model.kind == "named":
        arrays = {field.name: _nested(field.shape) for field in columns}
        return {"application/json": {"schema": {
            "type": "object", "required": ["inputs"], "properties": {"inputs": {
                "type": "object", "required": [*arrays], "properties": {
                    name: _several(each) for name, each in arrays.items()}}}}}}
    row = {"type": "object", "required": [column.name for column in columns],
           "properties": {column.name: _column(column) for column in columns}}
    return _json("rows", row) | {"text/csv": {"schema": {"type": "string"}}}


def _json(name: str, each: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": {
        "type": "object", "required": [name], "properties": {name: _several(each)}}}}


def _several(each: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "maxItems": reading.MOST_ROWS, "items": each}


def _nested(shape: tuple[int, ...]) -> dict[str, Any]:
    """Numbers of a shape."""
    inner: dict[str, Any] = {"type": "number"}
    for side in reversed(shape):
        inner = {"type": "array", "minItems": side, "maxItems": side, "items": inner}
    return inner


def _column(column: Any) -> dict[str, Any]:
    """A cell of it, or null."""
    if not isinstance(column, Number):
        return {"type": ["string", "number", "boolean", "null"], "examples": [*column.values[:3]]}
    if column.kind == "date":
        return {"type": ["string", "null"], "format": "date"}
    return {"type": ["number", "string", "boolean", "null"]}


def _answer(model: Model) -> dict[str, Any]:
    each: Any = {"type": "object",
                 "properties": {name: {"type": "number"} for name in model.names}}
    name: Any = {"enum": [*model.names]}
    said = {"classes": {"class": name, "probability": {"type": "number"}, "probabilities": each},
            "labels": {"labels": {"type": "array", "items": name}, "probabilities": each},
            "numbers": {"values": each}}[model.task.kind]
    one = {"type": "object", "required": [*said], "properties": said}
    return {"type": "object", "required": ["predictions", "notes"], "properties": {
        "predictions": {"type": "array", "items": one},
        "notes": {"type": "array", "items": {"type": "string"},
                  "description": "what is doubtful of the inputs, such as unknown words"}}}
