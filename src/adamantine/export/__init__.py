"""A study as long tables, for other programs: made from its record alone.

- ``columns``: the tables and what stands in them
- ``tables``: a record as rows
- ``files``: rows as CSV and Parquet
"""

from adamantine.export.columns import TABLES
from adamantine.export.files import as_csv, as_parquet
from adamantine.export.tables import tables

__all__ = ["TABLES", "as_csv", "as_parquet", "tables"]
