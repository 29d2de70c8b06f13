"""One figure for each stage, drawn from its own output."""
