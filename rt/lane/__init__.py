"""Lanes: stages and models whose work runs in a process of its own, a fixed delay behind the audio thread."""
