"""`autovoice bench`: what a chain costs and how it holds out under load."""
