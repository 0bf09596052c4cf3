"""How a slice becomes fills: against simulated liquidity, or at a real exchange."""
