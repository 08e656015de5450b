"""`python -m sys2ft` is the command `sys2ft`."""

from sys2ft.cli import main

main()
