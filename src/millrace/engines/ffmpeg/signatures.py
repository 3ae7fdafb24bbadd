"""What FFmpeg says when it fails, as data: (pattern, class, sentence). The first row that matches the log decides.

Measured on FFmpeg 5.1.9, 6.0 and 9.0.2. The order matters and is tested: a full disk or a lost connection makes many other
messages follow, so causes stand before consequences, and the node's troubles before those of the input.
"""

import re

from msgspec import Struct

from millrace.domain.failures import FailureClass
from millrace.domain.media.accepted import MOST_PIXELS, MOST_STREAMS


class Signature(Struct, frozen=True, kw_only=True):
    """One row: a case-insensitive pattern over the log tail."""

    pattern: str
    failure_class: FailureClass
    sentence: str

    def is_in(self, log: str) -> bool:
        """Whether the log says so. Compiled when it is first asked: most runs succeed, and all of them would wait 5 ms."""
        return re.search(self.pattern, log, re.IGNORECASE | re.MULTILINE) is not None


def _row(failure_class: FailureClass, sentence: str, *patterns: str) -> Signature:
    return Signature(
        pattern="|".join(patterns),
        failure_class=failure_class,
        sentence=sentence,
    )


SHORT_OF_MEMORY = "The machine has too little memory for this job; give it more or use a smaller profile."
SHORT_OF_THREADS = "The machine could not start enough threads; raise its limit of processes."
_IN = FailureClass.INPUT
_REQUEST = FailureClass.REQUEST
_CAPABILITY = FailureClass.CAPABILITY
_RESOURCE = FailureClass.RESOURCE
_DISK = FailureClass.DISK
_NETWORK = FailureClass.NETWORK
_LOST = FailureClass.LOST

SIGNATURES = (
    # FFmpeg 9.0.2 ends with 0 after this one.
    _row(
        FailureClass.OUTPUT_EXISTS,
        "A file of the output exists already; the engine never replaces one.",
        r"already exists\. Exiting",
    ),
    # Before memory: this is how FFmpeg goes on to tell it.
    _row(
        _IN,
        f"The input has more streams than the {MOST_STREAMS} that are taken.",
        r"exceeds max_streams",
    ),
    _row(
        _IN,
        f"The input has pictures of more than the {MOST_PIXELS / 1e6:.1f} million pixels that are taken.",
        r"exceeds specified max pixel count",
    ),
    _row(_DISK, "The disk is full; free space on this machine.", r"No space left on device", r"Disk quota exceeded"),
    _row(
        _RESOURCE,
        "Every session of the graphics card is taken by others; the driver calls that a want of memory.",
        r"OpenEncodeSessionEx failed: (out of memory|incompatible client key)",
    ),
    _row(
        _RESOURCE,
        SHORT_OF_MEMORY,
        r"Cannot allocate memory",
        r"Could not allocate memory",
        r"malloc of size \d+ failed",
        r"thread_get_buffer\(\) failed",
    ),
    _row(
        _RESOURCE,
        SHORT_OF_THREADS,
        r"Resource temporarily unavailable",
        r"pthread_create.* failed",
    ),
    _row(_RESOURCE, "The machine has too many files open; raise its limit of open files.", r"Too many open files"),
    _row(
        _REQUEST,
        "Only plain local files are read; the input names another protocol.",
        r"not on whitelist '.*'!",
        r"Protocol not found",
    ),
    _row(
        _IN,
        "The input is of a kind that is not accepted: only media files are, no playlists, scripts or raw streams.",
        r"Format not on whitelist",
    ),
    _row(_REQUEST, "The address answers that it does not have the input (404).", r"HTTP error 404", r"404 Not Found"),
    _row(
        _REQUEST,
        "The address does not let the input be read; check the permissions of the link.",
        r"HTTP error 40[13]",
        r"40[13] (Unauthorized|Forbidden)",
    ),
    _row(
        _NETWORK,
        "The server that has the input failed; try again later.",
        r"HTTP error (5\d\d|429)",
        r"5XX Server Error",
    ),
    _row(_NETWORK, "A connection was refused; check that the server runs.", r"Connection refused"),
    _row(_NETWORK, "A name could not be resolved; check the address and the DNS.", r"Failed to resolve hostname"),
    _row(
        _NETWORK,
        "A connection was silent for too long.",
        r"Connection timed out",
        r"Operation timed out",
        r"Cannot read RTMP handshake",
    ),
    _row(
        _NETWORK,
        "A connection broke before the end.",
        r"Connection reset by peer",
        r"Stream ends prematurely",
        r"Network is unreachable",
        r"No route to host",
    ),
    _row(_LOST, "What read the engine's output went away.", r"Broken pipe"),
    _row(
        _DISK,
        "The output folder does not let itself be written; check its permissions.",
        r"Error opening output.*Permission denied",
        r"Read-only file system",
        r"^(?!.*Error opening input).*(seg_|index\.m3u8|video\.|audio\.|sprite-|[0-9]p\.).*Permission denied",
    ),
    _row(_DISK, "The output folder is gone.", r"Error opening output.*No such file or directory"),
    _row(_IN, "The input does not let itself be read; check its permissions.", r"Permission denied"),
    _row(_IN, "The input is a folder; name a file.", r"Is a directory"),
    _row(_IN, "The input does not exist; check its path.", r"No such file or directory"),
    _row(
        _CAPABILITY,
        "This machine's FFmpeg lacks an encoder that the profile needs.",
        r"Unknown encoder '",
        r"Encoder not found",
    ),
    _row(
        _CAPABILITY,
        "The hardware encoder does not work on this machine.",
        r"Cannot load (libcuda|libnvidia|nvcuda)",
        r"No capable devices found",
        r"OpenEncodeSessionEx failed",
        r"Failed to initiali[sz]e VAAPI",
        r"No VA display found",
        r"Error creating a MFX session",
        r"Device creation failed",
    ),
    _row(_CAPABILITY, "This machine's FFmpeg lacks a filter that the job needs.", r"No such filter: '"),
    _row(_CAPABILITY, "This machine's FFmpeg has no VMAF model built in.", r"could not load libvmaf model"),
    _row(
        _REQUEST,
        "The profile has a value that the encoder does not know.",
        r"Error setting preset/tune",
        r"Error setting profile",
        r"invalid (preset|profile|tune)",
        r"Unable to parse option value",
        r"Error setting option",
        r"Undefined constant or missing",
        r"for parameter '.*' out of range",
    ),
    _row(_REQUEST, "The picture's size is odd, and the codec needs even sizes.", r"not divisible by 2"),
    _row(
        _REQUEST,
        "A codec cannot be put into the packaging that the profile names.",
        r"codec not currently supported in container",
        r"are supported for WebM",
        r"Could not find tag for codec",
        r"incorrect codec parameters",
    ),
    _row(
        _REQUEST,
        "The engine does not know an option that it was given.",
        r"Unrecognized option '",
        r"Option not found",
        r"Error splitting the argument list",
    ),
    _row(
        _REQUEST,
        "A filter was given a value that makes no sense.",
        r"Error parsing a? ?filter",
        r"Cannot parse expression",
        r"No option name near",
        r"Invalid chars .* at the end of expression",
        r"Error reinitializing filters",
        r"Error initializing filters",
    ),
    _row(
        _REQUEST,
        "The output's format cannot be told from its name.",
        r"Unable to find a suitable output format",
        r"Unable to choose an output format",
    ),
    _row(_IN, "The input has a stream in a codec that is not accepted.", r"Codec \(.*\) not on whitelist"),
    _row(
        _IN,
        "The input has a stream in a codec that cannot be decoded.",
        r"unknown codec",
        r"Decoder .* not found",
        r"no decoder found for",
        r"Could not find codec parameters",
    ),
    _row(_IN, "The input lacks a stream that the job needs.", r"matches no streams", r"does not contain any stream"),
    _row(
        _IN,
        "The input is cut short: its index is missing, so the upload or recording did not finish.",
        r"moov atom not found",
        r"partial file",
        r"File ended prematurely",
    ),
    _row(
        _IN,
        "The input is damaged: some of its data cannot be decoded.",
        r"corrupt (decoded frame|input packet)",
        r"Packet corrupt",
        r"error while decoding",
        r"Invalid NAL unit",
        r"Decoding error",
        r"Error processing packet in decoder",
        r"Error while decoding stream",
        r"misdetection possible",
        r"Invalid data found when processing input",
        r"EBML header parsing failed",
    ),
    _row(
        _CAPABILITY,
        "An encoder could not be opened on this machine.",
        r"Error while opening encoder",
        r"Could not open encoder",
    ),
)
