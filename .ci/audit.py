"""Ask an advisory service about every library that requirements.txt pins: `make audit`.

Ends with 0 where nothing is known of any of them, 1 where something is, and 3 where the service could not be asked: then
nothing is known at all, which is no good news.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOUND, NOT_RUN = 1, 3
LIMIT_S = 600
COMMAND = ("--require-hashes", "--disable-pip", "--format=json", "--progress-spinner=off", "--timeout=15")


def judge(said: str, complained: str) -> tuple[int, str]:
    """The exit code, and what to tell, from what pip-audit printed and what it complained of."""
    try:
        looked_at = json.loads(said)["dependencies"]
    except (ValueError, KeyError, TypeError):
        why = next((line for line in reversed(complained.splitlines()) if line.strip()), "it said nothing")
        return (
            NOT_RUN,
            f"AUDIT NOT RUN: the advisory service could not be asked, so nothing is known ({why.strip()[:300]})",
        )
    left_out = [one["name"] for one in looked_at if "skip_reason" in one]
    known = [
        f"{one['name']} {one['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'no version yet'}"
        for one in looked_at
        for flaw in one.get("vulns", ())
    ]
    count = f"{len(looked_at) - len(left_out)} of {len(looked_at)} libraries looked up"
    if known:
        return FOUND, "\n".join([*known, f"audit: {len(known)} known flaws; {count}"])
    if left_out or not looked_at:
        why = next((one["skip_reason"] for one in looked_at if "skip_reason" in one), "nothing is pinned")
        return NOT_RUN, f"AUDIT NOT WHOLE: {count}; nothing is known of {', '.join(left_out) or 'any'} ({why[:300]})"
    return 0, f"audit: no known flaw; {count}"


def main() -> int:
    """Run the pip-audit that is named, on the lock."""
    tool, lock = sys.argv[1], ROOT / "requirements.txt"
    try:
        done = subprocess.run(
            [tool, *COMMAND, "--requirement", str(lock)], capture_output=True, text=True, timeout=LIMIT_S, check=False,
            env={**os.environ, "NO_COLOR": "1"},
        )  # fmt: skip
        said, complained = done.stdout, done.stderr
    except subprocess.TimeoutExpired:
        said, complained = "", f"no answer within {LIMIT_S} s"
    except OSError as error:
        said, complained = "", f"{tool}: {error.strerror}"
    code, text = judge(said, complained)
    print(text, file=sys.stderr if code else sys.stdout)
    return code


if __name__ == "__main__":
    sys.exit(main())
