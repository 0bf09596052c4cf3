"""The soak: the whole demo with faults on, for as long as one likes, and what it promised at the end of it."""
