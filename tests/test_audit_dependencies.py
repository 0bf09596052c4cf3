"""The gate on vulnerable dependencies fails when it should, and never passes silently for having seen nothing."""

from tools.audit_dependencies import verdict

FINE = {"name": "fine", "version": "1", "vulns": []}
BAD = {"name": "bad", "version": "2", "vulns": [{"id": "GHSA-1", "fix_versions": ["3"]}]}
UNKNOWN = {"name": "unknown", "skip_reason": "not found"}


def test_a_known_vulnerability_fails_and_is_named() -> None:
    is_good, lines = verdict({"dependencies": [FINE, BAD, UNKNOWN]})
    assert not is_good and "bad 2: GHSA-1, mended in 3" in lines


def test_nothing_found_passes_with_what_was_looked_at() -> None:
    assert verdict({"dependencies": [FINE, UNKNOWN]}) == (True, "pip-audit: 1 of 2 packages audited, 0 findings")


def test_nothing_looked_up_is_said() -> None:
    is_good, lines = verdict({"dependencies": [UNKNOWN]})
    assert is_good and "none of 1 packages was audited" in lines
