"""`python -m surgeon`, and what `accelerate launch -m surgeon` and torchrun start."""

from surgeon.cli import main

if __name__ == "__main__":
    main()
