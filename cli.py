"""The command line from a checkout: `python cli.py …` is `surgeon …`."""

from surgeon.cli import main

if __name__ == "__main__":
    main()
