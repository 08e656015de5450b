"""What people look at: figures, and one page with verdicts, tables, worked examples and provenance."""
