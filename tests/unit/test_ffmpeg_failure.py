"""Each line is in our own words about a case measured on 9.0.2 (5.1 and 6.0 words where they differ): status, log, class."""

import pytest

from millrace.domain.failures import FailureClass
from millrace.engines.ffmpeg.failure import failure, suspicion

CASES = [
    ("missing file", 254, "[in#0 @ 0x1] Error opening input: No such file or directory\nError opening input file file:x.mp4.", "input"),
    ("missing file 5.1", 1, "file:x.mp4: No such file or directory", "input"),
    ("empty or text", 183, "[in#0] Format mov detected only with low score of 1, misdetection possible!\n[in#0] moov atom not found", "input"),
    ("no index", 183, "[in#0] moov atom not found\nError opening input: Invalid data found when processing input", "input"),
    ("truncated, strict", 183, "Packet corrupt (stream = 0, dts = 4).\n[h264] Invalid NAL unit size (13 > 2).\ncorrupt input packet in stream 0", "input"),
    ("rot, strict", 183, "[h264] error while decoding MB 29 21\n[dec:h264] Error processing packet in decoder: Invalid data found", "input"),
    ("no video", 234, "Stream map '' matches no streams.\nError opening output files: Invalid argument", "input"),
    ("unknown input codec", 234, "Could not find codec parameters for stream 0: unknown codec\nDecoding requested, but no decoder found for: none", "input"),
    ("unknown encoder", 8, "[vost#0:0] Unknown encoder 'libfoo'\nError opening output files: Encoder not found", "capability"),
    ("nvenc without a card", 255, "[h264_nvenc] Cannot load libcuda.so.1\nError while opening encoder - maybe incorrect parameters", "capability"),
    ("bad preset", 234, "x264 [error]: invalid preset 'warp9'\nError setting preset/tune warp9/(null).\nError while opening encoder", "request"),
    ("unknown option", 8, "Unrecognized option 'foo'.\nError splitting the argument list: Option not found", "request"),
    ("bad profile", 234, "x264 [error]: invalid profile: hi42\nError setting profile hi42.\nTask finished with error code: -22", "request"),
    ("bad filter", 234, "[AVFilterGraph] No option name near '1'\nError parsing a filter description around: ", "request"),
    ("model that is not there", 234, "[Parsed_libvmaf_9 @ 0x1] could not load libvmaf model with version: vmaf_v0.6.1\nError initializing filters", "capability"),
    ("filter that is not there", 1, "[AVFilterGraph] No such filter: 'zscale'\nError reinitializing filters!", "capability"),
    ("bad filter value", 234, "Cannot parse expression for width: '0x'\nError initializing filters", "request"),
    ("odd size", 187, "[libx264] width not divisible by 2 (641x361)\nError while opening encoder", "request"),
    ("codec not in container", 234, "Could not find tag for codec pcm_mulaw in stream #0, codec not currently supported in container", "request"),
    ("h264 in webm", 234, "Only VP8 or VP9 or AV1 video and WebVTT subtitles are supported for WebM.\nCould not write header", "request"),
    ("unknown output format", 234, "Unable to choose an output format for 'o.zzz'; use a standard extension", "request"),
    ("output folder missing", 254, "[out#0/mp4] Error opening output no/o.mp4: No such file or directory", "disk"),
    ("output permission", 243, "[out#0/mp4] Error opening output ro/o.mp4: Permission denied\nError opening output files: Permission denied", "disk"),
    ("input permission", 243, "[in#0] Error opening input: Permission denied\nError opening input file secret.mp4.", "input"),
    ("input is a folder", 235, "[in#0] Error opening input: Is a directory", "input"),
    ("disk full", 228, "Error submitting a packet to the muxer: No space left on device\nError writing trailer", "disk"),
    ("disk full, nothing said", 228, "", "disk"),
    ("reader gone", 224, "Error submitting a packet to the muxer: Broken pipe", "lost"),
    ("refused", 145, "[tcp] Connection to tcp://127.0.0.1:1 failed: Connection refused", "network"),
    ("name", 251, "Failed to resolve hostname no-such.invalid: Name or service not known\nError opening input: Input/output error", "network"),
    ("404", 8, "[http] HTTP error 404 X\nServer returned 404 Not Found", "request"),
    ("403", 8, "[http] HTTP error 403 X\nServer returned 403 Forbidden (access denied)", "request"),
    ("500", 8, "[http] HTTP error 500 X\nServer returned 5XX Server Error reply", "network"),
    ("503", 8, "[http] HTTP error 503 X", "network"),
    ("stalled", 146, "Error reading HTTP response: Connection timed out", "network"),
    ("early end", 251, "Stream ends prematurely at 54, should be 163\nError during demuxing: Input/output error", "network"),
    ("reset", 152, "Error during demuxing: Connection reset by peer", "network"),
    ("unknown protocol", 8, "[in#0] Error opening input: Protocol not found\nDid you mean file:foo://x?", "request"),
    ("protocol not allowed", 234, "[http] Protocol 'http' not on whitelist 'file'!\nError opening input: Invalid argument", "request"),
    ("format not allowed", 234, "[in#0] Format not on whitelist 'mov'\nError opening input: Invalid argument", "input"),
    ("sessions taken", 187, "[h264_nvenc] OpenEncodeSessionEx failed: out of memory (10): (no details)\nError while opening encoder", "resource"),
    ("card refuses", 187, "[h264_nvenc] OpenEncodeSessionEx failed: unsupported device (2): (no details)\nError while opening encoder", "capability"),
    ("memory", 187, "[h264] thread_get_buffer() failed\n[enc:libx264] Error while opening encoder", "resource"),
    ("memory 5.1", 1, "[h264] Could not allocate memory\nx264 [error]: malloc of size 16386 failed", "resource"),
    ("streams", 244, "[matroska] Number of streams exceeds max_streams parameter (200), see\nCannot allocate memory", "input"),
    ("pixels", 183, "[mjpeg] Picture size 16384x16384 exceeds specified max pixel count 35389440, see", "input"),
    ("codec not allowed", 234, "[magicyuv @ 0x1] Codec (magicyuv) not on whitelist 'h264'\nno decoder found for: none", "input"),
    ("words of a tag", 183, "Input #0, matroska, from 'x':\nNo space left on device\nStream mapping:\nWhat nobody knows", "input"),
    ("words of a tag, unknown status", 69, "Input #0, mov, from 'x':\nNo space left\nStream mapping:\nInvalid NAL unit", "input"),
    ("encoder of 5.1", 1, "Input #0, mov, from 'x':\n[nvenc] No capable devices found\nStream mapping:\nConversion failed!", "capability"),
    ("exists", 0, "File 'file:video.mp4' already exists. Exiting.", "output_exists"),
    ("encoder does not open", 255, "[enc:x] Error while opening encoder - maybe incorrect parameters such as bit_rate", "capability"),
    ("file size limit", -25, "", "output"),
    ("crash", -11, "", "engine"),
    ("killed", -9, "frame= 10", "lost"),
    ("ended by a signal", 255, "Exiting normally, received signal 15.", "lost"),
    ("never seen", 77, "[x @ 0x1] The moon is full.\nConversion failed!", "engine"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "log", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_each_case_has_its_class_and_a_sentence(status: int, log: str, expected: str) -> None:
    found = failure(status, log, signalled=False)
    assert found.failure_class == expected
    assert found.message[0].isupper()
    assert found.message.endswith(".")
    assert "@ 0x" not in found.message


@pytest.mark.parametrize("status", [255, 0, -15, -9])
def test_an_ending_that_was_asked_for_is_no_fault(status: int) -> None:
    assert failure(status, "Invalid data found", signalled=True).failure_class is FailureClass.CANCELED


def test_a_crash_is_told_even_while_it_is_being_ended() -> None:
    assert failure(-11, "", signalled=True).failure_class is FailureClass.ENGINE


def test_unknown_failures_quote_the_last_words() -> None:
    assert "The moon is full" in failure(77, "[x @ 0x1] The moon is full.\nConversion failed!", signalled=False).message


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("Format h263 detected only with low score of 25, misdetection possible!", "input"),
        ("[in#0/mov] corrupt input packet in stream 0", "input"),
        ("[h264] error while decoding MB 29 21, bytestream 28655", "input"),
        ("[in#0/mpegts] Error during demuxing: Connection reset by peer", "network"),
        ("[http] Stream ends prematurely at 5, should be 16", "network"),
        ("[in#0/mpegts] Error during demuxing: Connection timed out", "network"),
        ("Error writing trailer: No space left on device", "disk"),
    ],
)
def test_an_exit_status_of_0_is_not_believed_against_the_log(log: str, expected: str) -> None:
    found = suspicion(log)
    assert found is not None
    assert found.failure_class == expected


def test_a_clean_log_raises_no_suspicion() -> None:
    assert suspicion("[libx264] kb/s:1472.42\n[aac] Qavg: 1161.535\n") is None


def test_every_class_has_a_sentence() -> None:
    for one in FailureClass:
        assert one.sentence.endswith(".")


def test_a_films_title_is_no_message() -> None:
    log = """Input #0, mov,mp4, from 'file:/films/No space left on device.mp4':
  Metadata:
    title           : partial file
    comment         : corrupt decoded frame
[libx264 @ 0x1] kb/s:1472.42
"""
    assert suspicion(log) is None
    assert failure(77, log, signalled=False).failure_class is FailureClass.ENGINE
