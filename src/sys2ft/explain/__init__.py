"""`sys2ft explain`: from a row of a table back to all that it was made from, with every digest computed again."""
