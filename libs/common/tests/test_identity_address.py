"""What of an address limits count by."""

from __future__ import annotations

import pytest

from crosstape.common.identity.address import network_of


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("", ""),
        ("unknown", "unknown"),
        ("1" * 100, "1" * 100),
    ],
)
def test_an_address_stands_for_one_customer(address: str, network: str) -> None:
    assert network_of(address) == network
