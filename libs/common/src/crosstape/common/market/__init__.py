"""The words of the market: pure values and folds, without I/O and without a clock."""
