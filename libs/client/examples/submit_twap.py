"""A TWAP order: buy a little in six slices over five seconds, wait until it is closed, and look at its fills.

CROSSTAPE_URL=http://127.0.0.1:8000 CROSSTAPE_API_KEY=ctk_... python submit_twap.py    (the key needs orders:write)
"""

import os
import time
from decimal import Decimal

from crosstape.client import Client, TwapOrder

URL = os.environ.get("CROSSTAPE_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("CROSSTAPE_API_KEY")

with Client(URL, api_key=KEY) as client:
    best_ask = client.consolidated_book("BTC-USD", depth=1).asks[0].price
    order = TwapOrder(
        symbol="BTC-USD",
        side="buy",
        total_quantity=Decimal("0.06"),
        limit_price=(best_ask * Decimal("1.01")).quantize(Decimal(1)),
        duration=5,
        interval=1,
    )
    accepted = client.submit_twap(order)
    print(f"{accepted.message}: {accepted.order_id}")

    deadline = time.monotonic() + 30
    while (found := client.order(accepted.order_id)).status == "open" and time.monotonic() < deadline:
        time.sleep(0.5)

for execution in found.executions:
    print(f"{execution.timestamp:%H:%M:%S.%f} {execution.quantity} @ {execution.price} {execution.exchange or ''}")
print(f"{found.status} ({found.close_reason}): {found.filled_quantity} at {found.average_price} on average")
if found.status == "open":
    raise SystemExit("The order is still open after 30 s.")
