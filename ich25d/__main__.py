"""`python -m ich25d`."""

from ich25d.cli.app import main

main()
