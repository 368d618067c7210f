"""Arrow batches as rows of plain Python values, each as it was stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

Convert = Callable[[Any], Any]
_BYTES = ("binary", "large_binary", "fixed_size_binary", "binary_view")
_LISTS = ("list", "large_list", "fixed_size_list", "list_view", "large_list_view")


def rows_of(batches: Iterable[pa.RecordBatch]) -> Iterator[dict[str, Any]]:
    """Yield the rows of Arrow batches of one schema as plain Python values."""
    converts: dict[str, Convert] | None = None
    for batch in batches:
        if converts is None:
            found = {field.name: _convert(field.type) for field in batch.schema}
            converts = {name: convert for name, convert in found.items() if convert is not None}
        for row in batch.to_pylist():
            for name, convert in converts.items():
                row[name] = convert(row[name])
            yield row


def _convert(kind: pa.DataType) -> Convert | None:
    """What has to be done to Python's values of an Arrow type so that they are what was stored; None for nothing."""
    import pyarrow as pa
    import pyarrow.types as types

    if isinstance(kind, pa.BaseExtensionType):
        return _convert(kind.storage_type)
    if types.is_float16(kind) or types.is_float32(kind):
        return _nullable(_decimal(kind.to_pandas_dtype()))
    if any(getattr(types, f"is_{name}")(kind) for name in _BYTES):
        return _nullable(_decoded)
    if types.is_struct(kind):
        found = {field.name: _convert(field.type) for field in kind}
        inner = {name: convert for name, convert in found.items() if convert is not None}
        return _nullable(_fields(inner)) if inner else None
    if any(getattr(types, f"is_{name}")(kind) for name in _LISTS):
        each = _convert(kind.value_type)
        return _nullable(lambda items: [each(item) for item in items]) if each else None
    if types.is_map(kind):
        key, value = _convert(kind.key_type) or _same, _convert(kind.item_type) or _same
        return _nullable(lambda pairs: [(key(name), value(item)) for name, item in pairs])
    if types.is_dictionary(kind):
        return _convert(kind.value_type)
    return None


def _nullable(convert: Convert) -> Convert:
    return lambda value: None if value is None else convert(value)


def _same(value: Any) -> Any:
    return value


def _decimal(kind: Any) -> Convert:
    # The shortest decimal number that is stored as this one: 2.8, where Python alone widens to 2.799999952316284.
    return lambda value: float(str(kind(value)))


def _fields(converts: Mapping[str, Convert]) -> Convert:
    return lambda struct: {name: converts[name](value) if name in converts else value for name, value in struct.items()}


def _decoded(value: Any) -> Any:
    """Text that a writer stored as bytes is text again; a template refuses to print what is not."""
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return value
