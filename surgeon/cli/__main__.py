"""`python -m surgeon.cli`."""

from surgeon.cli import main

main()
