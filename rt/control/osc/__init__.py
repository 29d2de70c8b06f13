"""Open Sound Control: a process of its own that turns packets into parameter moves and tells its subscribers what moved.

`python -m autovoice.rt.control.osc` is started by the Conductor; it imports no Numba and shares no interpreter with the engine.
"""
