"""`python -m ich25d`."""

from ich25d.cli import main

main()
