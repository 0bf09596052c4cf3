"""What two or more parts of Crosstape need: the domain's words, the bus, and how every process lives."""
