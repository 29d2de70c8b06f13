"""Takes: what went in, what came out, and all that happened in between, so that the same sound can be made again.

A take is a folder with three files:

    dry.wav     the input as the chain got it (mended, trimmed), float32, delayed to lie beside the output
    wet.wav     the output, float32
    log.jsonl   a header, then one line for every event and every change of chain, each with its frame

`log` writes the log, `reader` reads it and trusts nothing in it, `voices` keeps who spoke, `recorder` makes a take while the
voice plays, `replay` renders one.
"""
