"""The page of a report: charts, galleries and tables in one self-contained file."""
