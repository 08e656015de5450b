"""The commands of `sys2ft`, by what they are about."""

from sys2ft.errors import InputError
from sys2ft.grid import Cell


def parse_cell(text: str) -> Cell:
    """A cell from its path, or from that of a folder or file of it.

    Raises:
        InputError: it is none.
    """
    start = text[max(text.find("model="), 0) :]
    try:
        return Cell.from_path("/".join(part for part in start.split("/") if "=" in part) or text)
    except (ValueError, TypeError) as error:
        raise InputError("sys2ft", "cell", str(error), "copy the path of a folder below results/fine_tune") from None
