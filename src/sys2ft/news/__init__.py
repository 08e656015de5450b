"""News items and their questions, as people write them."""
