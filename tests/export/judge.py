"""How the scripts beside this one judge what they find; for tests/export.rs."""

import json
import sys

TOLERANCE = 1e-5


def judge(run):
    """Runs each case of the list that is named, and ends the program with whether one was wrong."""
    faults = 0
    for case in json.load(open(sys.argv[1])):
        off, moved = run(case)
        wrong = not (off <= TOLERANCE) or off > max(1e-3 * moved, 1e-7)
        faults += wrong
        print(f"{case['file']}: off by {off:.1e} at most, of what moves by {moved:.1e}{' WRONG' if wrong else ''}")
    sys.exit(1 if faults else 0)
