"""`python -m tests.toy.service crosstape.ingestor`: a service of the platform whose table has one more row."""

import runpy
import sys

from crosstape.exchanges import DIALECTS
from tests.toy.dialect import Toy

if __name__ == "__main__":
    DIALECTS["toy"] = Toy()
    runpy.run_module(sys.argv[1], run_name="__main__")
