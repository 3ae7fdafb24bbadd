"""What becomes of the colours of a source, and of what its samples hold beyond those of the output. Pure."""

from msgspec.structs import replace

from millrace.domain.failures import FailureClass, Refused
from millrace.domain.media.probe import Color, VideoStream

STANDARD = Color(range="tv", space="bt709", transfer="bt709", primaries="bt709")
"""High definition in standard dynamic range (ITU-R BT.709): what tone mapping gives."""
PLAYED = "4:2:0"
"""The chroma of all outputs: it is what players decode."""
RGB = "RGB"


def refuse_closed(stream: VideoStream) -> None:
    """Pass, where other decoders than Dolby's show the true colours. Raises Refused, class input."""
    dolby = stream.dolby_vision
    if dolby is not None and dolby.is_closed:
        raise Refused(
            FailureClass.INPUT,
            f"The input is Dolby Vision profile {dolby.profile}, whose colours only Dolby's decoder shows as they are; "
            "give a version of it in HDR10, HLG or profile 8.",
        )


def made_color(stream: VideoStream, *, tonemap: bool) -> Color:
    """The colour that an output declares, None for what is left to the encoder."""
    if tonemap:
        return STANDARD
    if stream.chroma == RGB:
        # Players take what says nothing for BT.709, and so it is made.
        return replace(stream.color, range="tv", space="bt709")
    return stream.color


def color_notes(stream: VideoStream, *, tonemap: bool) -> list[str]:
    """What an output does not have of the source's dynamic range, for a person."""
    notes = []
    if tonemap:
        notes.append("The input is HDR; the output is tone-mapped to standard dynamic range (BT.709).")
    elif stream.color.is_hdr and (stream.dynamic_hdr or stream.dolby_vision):
        kind = "Dolby Vision" if stream.dolby_vision else "HDR10+ or Dolby Vision"
        notes.append(
            f"The input has metadata that change from scene to scene ({kind}), left out: the output is {stream.color.hdr_name} without them."
        )
    return notes


def sample_notes(stream: VideoStream, bits: int) -> list[str]:
    """What an output with so many bits a sample does not have of the source's samples, for a person."""
    notes = []
    if stream.bit_depth > bits:
        notes.append(f"The input has {stream.bit_depth} bits a sample, the output {bits}.")
    if stream.chroma not in (PLAYED, "grey"):
        notes.append(f"The input has colours in {stream.chroma}, the output in {PLAYED}.")
    if stream.alpha:
        notes.append("The input may be transparent, the output is not: what lies behind is not known.")
    return notes
