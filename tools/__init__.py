"""Programs that people run: the `autovoice` command line, its demo and its reports."""
