"""The best bid and ask over all exchanges, ten times.

CROSSTAPE_URL=http://127.0.0.1:8000 python order_book.py
"""

import os

from crosstape.client import Client, ConsolidatedBookEvent, Refused

URL = os.environ.get("CROSSTAPE_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("CROSSTAPE_API_KEY")
BOOKS = 10

with Client(URL, api_key=KEY) as client, client.books() as feed:
    feed.subscribe("*", "ETH-USD", depth=5)
    shown = 0
    while shown < BOOKS:
        event = feed.get(30)
        if isinstance(event, ConsolidatedBookEvent) and event.book.bids and event.book.asks:
            bid, ask = event.book.bids[0], event.book.asks[0]
            state = "crossed" if event.book.crossed else f"spread {ask.price - bid.price}"
            print(f"{bid.exchange:<12} {bid.price:>12} | {ask.price:<12} {ask.exchange:<12} {state}")
            shown += 1
        elif isinstance(event, Refused):
            raise SystemExit(event.message)
        elif event is None:
            raise SystemExit("No book came for 30 s.")
