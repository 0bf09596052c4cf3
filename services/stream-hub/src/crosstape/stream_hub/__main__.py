"""`python -m crosstape.stream_hub`."""

from crosstape.stream_hub.main import main

main()
