"""Plan, lock, results and verdicts: pure functions of what was frozen and what was observed."""
