"""`python -m crosstape.api_gateway`: the edge."""

from __future__ import annotations

from crosstape.api_gateway.main import main

if __name__ == "__main__":
    main()
