"""Voices: the converter's features, network and training, the teacher it learns from, voice profiles, resident models."""
