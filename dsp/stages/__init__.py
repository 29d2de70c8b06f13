"""The stages that come with AutoVoice, one module each."""
