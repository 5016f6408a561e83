"""The user's own tables, CSV or Parquet → typed columns, and one of them to learn."""
