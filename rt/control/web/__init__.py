"""The web server: a process of its own that serves the page, OSCQuery, metrics and health of one engine.

`python -m autovoice.rt.control.web --channel FD` is started by the Conductor. It imports no compiler: parameters go by the
shared ring straight to the audio thread, the rest as commands over the channel.
"""
