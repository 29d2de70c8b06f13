"""Signal processing: the stage contract, native helpers and the stages. No I/O and no threads of its own."""
