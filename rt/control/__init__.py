"""Control from outside: OSC, the web, MIDI, presets. Surfaces run in processes of their own, and ask the Conductor."""
