"""`autovoice bench page`: results as one HTML file and as pictures."""
