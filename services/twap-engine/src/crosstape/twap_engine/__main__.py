"""`python -m crosstape.twap_engine`: the orders' API and the engine that works them off."""

from __future__ import annotations

from crosstape.twap_engine.main import main

if __name__ == "__main__":
    main()
