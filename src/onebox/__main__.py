"""`python -m onebox` is the command line."""

from onebox.cli import main

main()
