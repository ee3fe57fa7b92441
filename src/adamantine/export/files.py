"""Rows as the bytes of files."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from adamantine.export.columns import TABLES


def as_csv(name: str, rows: Sequence[Sequence[Any]]) -> bytes:
    """The table `name` as CSV in UTF-8: a header, empty cells for None, ``true`` and ``false``."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.name for column in TABLES[name]])
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().encode()


def as_parquet(name: str, rows: Sequence[Sequence[Any]]) -> bytes:
    """The table `name` as Parquet, with nulls for None and a type for each column.

    Raises
    ------
    ImportError
        pyarrow is not installed.
    """
    import pyarrow as pa
    from pyarrow import parquet

    types = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    columns = TABLES[name]
    fields = [pa.field(c.name, types[c.kind], metadata={"meaning": c.meaning}) for c in columns]
    arrays = [
        pa.array([_typed(column.kind, row[index]) for row in rows], field.type)
        for index, (column, field) in enumerate(zip(columns, fields, strict=True))
    ]
    file = io.BytesIO()
    parquet.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(fields)), file)
    return file.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def _typed(kind: type, value: Any) -> Any:
    return float(value) if kind is float and value is not None else value
