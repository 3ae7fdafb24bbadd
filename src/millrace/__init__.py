"""Millrace: a transcoding farm and a process supervisor on one foundation.

Rooms import to the right only (`import-linter` checks it on every run)::

    cli -> programs -> web -> (api | worker) -> (scheduler | client | edge)
        -> (store | blobs | engines | process | wire) -> config -> telemetry -> runtime -> domain
"""

__version__ = "0.1.0"
