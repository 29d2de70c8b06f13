"""How sound comes in and goes out. Each backend calls the processor's compiled entry from the driver's own thread."""
