"""`python -m crosstape.ingestor`."""

from crosstape.ingestor.main import main

main()
