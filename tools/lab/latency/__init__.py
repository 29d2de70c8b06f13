"""`autovoice latency`: the round trip through a live client, measured."""
