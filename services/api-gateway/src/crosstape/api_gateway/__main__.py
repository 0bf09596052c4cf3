"""`python -m crosstape.api_gateway`."""

from crosstape.api_gateway.main import run

if __name__ == "__main__":
    run()
