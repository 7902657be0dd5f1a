"""``python -m destilo``, and what ``accelerate launch -m destilo`` starts."""

from destilo.cli import main

if __name__ == "__main__":
    main()
