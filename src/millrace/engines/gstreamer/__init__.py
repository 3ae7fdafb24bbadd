"""The place of GStreamer, which a later version brings; until then a job for it is refused with `REASON`."""

REASON = "Engine gstreamer is not available in this version; leave the engine out or ask for ffmpeg."
"""The sentence with which a job that asks for this engine is rejected."""
