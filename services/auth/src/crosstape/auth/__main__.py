"""`python -m crosstape.auth`: serve."""

from __future__ import annotations

from crosstape.auth.main import main

if __name__ == "__main__":
    main()
