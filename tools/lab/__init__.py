"""The latency laboratory: what a live voice waits for, measured rather than declared."""
