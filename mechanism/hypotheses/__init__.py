"""The paper's three hypotheses about personas (§3.1 to §3.3), tested: each against what would be seen without it."""
