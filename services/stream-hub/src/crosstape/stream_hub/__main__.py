"""`python -m crosstape.stream_hub`: live trades, bars, books and CVD."""

from __future__ import annotations

from crosstape.stream_hub.main import main

if __name__ == "__main__":
    main()
