"""The seal on signing keys: pure rules."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstape.auth.sealing import NotOpened, Sealer

secrets = st.text(st.characters(codec="utf-8"), min_size=32, max_size=80)
contents = st.binary(max_size=200)


@given(several=st.lists(secrets, min_size=1, max_size=4), content=contents, data=st.data())
def test_any_of_several_secrets_opens_and_the_first_one_seals(
    several: list[str], content: bytes, data: st.DataObject
) -> None:
    by = data.draw(st.sampled_from(several))
    assert Sealer(several).open(Sealer([by]).seal(content)) == content
    assert Sealer(several[:1]).open(Sealer(several).seal(content)) == content


@given(pair=st.lists(secrets, min_size=2, max_size=2, unique=True), content=contents)
def test_another_secret_opens_nothing(pair: list[str], content: bytes) -> None:
    own, other = pair
    with pytest.raises(NotOpened, match="CROSSTAPE_SIGNING_KEY_SECRET"):
        Sealer([other]).open(Sealer([own]).seal(content))


@given(secret=secrets, content=contents, data=st.data())
def test_what_was_changed_since_is_refused(secret: str, content: bytes, data: st.DataObject) -> None:
    sealer = Sealer([secret])
    sealed = bytearray(urlsafe_b64decode(sealer.seal(content)))
    bit = data.draw(st.integers(0, 8 * len(sealed) - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(NotOpened):
        sealer.open(urlsafe_b64encode(sealed).decode())


@given(text=st.text(st.characters(codec="utf-8")))
def test_what_was_never_sealed_is_refused(text: str) -> None:
    with pytest.raises(NotOpened):
        Sealer(["x" * 32]).open(text)


@given(pair=st.lists(secrets, min_size=2, max_size=2, unique=True), content=contents)
def test_what_an_older_secret_sealed_is_sealed_anew_and_once(pair: list[str], content: bytes) -> None:
    new, old = pair
    both = Sealer(pair)
    renewed = both.renewed(Sealer([old]).seal(content))
    assert Sealer([new]).open(renewed) == content
    assert both.renewed(renewed) == renewed
    with pytest.raises(NotOpened):
        Sealer([new]).renewed(Sealer([old]).seal(content))


def test_what_is_sealed_shows_nothing_of_it_and_not_that_it_is_the_same() -> None:
    sealer = Sealer(["x" * 32])
    one, two = sealer.seal(b"-----BEGIN PRIVATE KEY-----"), sealer.seal(b"-----BEGIN PRIVATE KEY-----")
    assert one != two
    assert b"PRIVATE" not in urlsafe_b64decode(one)


@pytest.mark.parametrize("weak", [[], [""], ["short"], ["x" * 32, "short"]])
def test_a_weak_secret_is_refused(weak: list[str]) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Sealer(weak)
