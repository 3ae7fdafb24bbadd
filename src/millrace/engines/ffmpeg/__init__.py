"""FFmpeg: argument lists for it and parsers of what it says, for versions 5.1 to 9."""
