"""The last 500 one-minute bars as a DataFrame, and what pandas makes of them.

CROSSTAPE_URL=http://127.0.0.1:8000 CROSSTAPE_API_KEY=ctk_... python history_to_dataframe.py
"""

import os

from crosstape.client import Client

URL = os.environ.get("CROSSTAPE_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("CROSSTAPE_API_KEY")

with Client(URL, api_key=KEY) as client:
    bars = client.ohlcv("binance", "BTC-USD", interval="1m", limit=500).to_pandas()

bars = bars.set_index("timestamp")
bars["return"] = bars["close"].pct_change()
bars["cvd"] = bars["volume_delta"].cumsum()
print(bars[["close", "volume", "volume_delta", "cvd", "return"]].tail())
print(f"{len(bars)} bars, volatility of a minute {bars['return'].std():.6f}")
