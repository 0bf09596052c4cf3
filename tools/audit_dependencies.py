"""Known vulnerabilities in what is locked, by pip-audit; where its data cannot be reached, that is said.

Run by `make lint`. pip-audit itself exits 0 when it could look up nothing, which would pass for a clean bill.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
LONGEST_SECONDS = 120


def verdict(report: dict[str, Any]) -> tuple[bool, str]:
    """Whether nothing bad was found, and the lines to show, of pip-audit's JSON report."""
    audited = [found for found in report["dependencies"] if "skip_reason" not in found]
    total = len(report["dependencies"])
    if not audited:
        return True, f"pip-audit: no vulnerability data can be reached here: none of {total} packages was audited"
    bad = [
        f"{found['name']} {found['version']}: {hole['id']}, mended in {', '.join(hole['fix_versions']) or 'no version'}"
        for found in audited
        for hole in found["vulns"]
    ]
    return not bad, "\n".join([*bad, f"pip-audit: {len(audited)} of {total} packages audited, {len(bad)} findings"])


def main() -> int:
    command = [
        "pip-audit",
        "--disable-pip",
        "--require-hashes",
        "-r",
        str(LOCK),
        "-f",
        "json",
        "--progress-spinner",
        "off",
    ]
    command[0] = str(Path(sys.executable).with_name("pip-audit"))
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LONGEST_SECONDS)
    except subprocess.TimeoutExpired:
        sys.stdout.write(f"pip-audit: nothing was audited: no answer within {LONGEST_SECONDS} s\n")
        return 0
    try:
        is_good, lines = verdict(json.loads(answer.stdout))
    except json.JSONDecodeError:
        reason = (answer.stderr.strip().splitlines() or ["it said nothing"])[-1]
        is_good, lines = True, f"pip-audit: nothing was audited: {reason[:200]}"
    sys.stdout.write(lines + "\n")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
