"""The exchanges' public protocols, one module each."""

from crosstape.exchange_sim.venues.binance import Binance
from crosstape.exchange_sim.venues.bybit import Bybit
from crosstape.exchange_sim.venues.coinbasepro import CoinbasePro
from crosstape.exchange_sim.venues.dialect import Dialect
from crosstape.exchange_sim.venues.kraken import Kraken
from crosstape.exchange_sim.venues.okx import Okx

DIALECTS: dict[str, type[Dialect]] = {
    dialect.exchange: dialect for dialect in (Binance, Kraken, CoinbasePro, Okx, Bybit)
}
