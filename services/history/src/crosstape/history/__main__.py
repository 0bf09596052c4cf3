"""`python -m crosstape.history`: the sink, the API or both, by CROSSTAPE_ROLE."""

from __future__ import annotations

from crosstape.history.main import main

if __name__ == "__main__":
    main()
