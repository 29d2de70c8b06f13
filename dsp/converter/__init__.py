"""The voice converter on the audio thread: its definitions, weights, voices, network and synthesis; see `stages.convert`."""
