"""`python -m crosstape.ingestor`: one exchange's live feed, onto the bus."""

from __future__ import annotations

from crosstape.ingestor.main import main

if __name__ == "__main__":
    main()
