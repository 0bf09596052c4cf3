"""`python -m crosstape.cli`: the `crosstape` command."""

from crosstape.cli.app import main

if __name__ == "__main__":
    main()
