"""Live trades, bars, books and CVD, held in memory and sent to every subscriber once."""
