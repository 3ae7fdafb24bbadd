"""Sessions of hardware encoders: how many a node has at once, and which of its tasks may run side by side. Pure.

A graphics card encodes only so many films at a time, whatever else the machine could do: a consumer's NVENC opens a few sessions in
all, over all programs and codecs, and refuses the next (NVIDIA's "Video Encode and Decode GPU Support Matrix", maximum number of
concurrent sessions). So sessions are counted for each family of encoders, over all tasks of a node.
"""

from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct

FAMILIES = ("nvenc", "qsv", "vaapi", "videotoolbox")
"""As FFmpeg's encoders of graphics cards end, such as `h264_nvenc`."""


def family_of(encoder: str) -> str | None:
    """The family of hardware that an encoder uses; None for one in software."""
    codec, _, family = encoder.rpartition("_")
    return family if codec and family in FAMILIES else None


def chosen_among(working: Collection[str]) -> str | None:
    """Of the encoders of one codec that work on a node, the one of hardware that it takes; None where one in software works, which goes
    first. Those of hardware go by the alphabet (`millrace.engines.ffmpeg.encoders` lists them so).
    """
    return min(working) if working and all(map(family_of, working)) else None


class Allowance(Struct, frozen=True, kw_only=True):
    """The sessions of one node, by family, and those that a task of each class takes there; classes that take none are left out."""

    sessions: Mapping[str, int]
    takes: Mapping[int, Mapping[str, int]]

    def fitting(self, classes: Iterable[int], held: Iterable[int]) -> list[int]:
        """Those of the classes of which the node may be given one task more.

        Args:
            classes: requirement classes that it satisfies.
            held: the classes of the tasks that it has, one entry for each task.
        """
        free = dict(self.sessions)
        for class_id in held:
            for family, count in self.takes.get(class_id, {}).items():
                if family in free:
                    free[family] -= count
        return [one for one in classes if self._fits(one, free)]

    def _fits(self, class_id: int, free: Mapping[str, int]) -> bool:
        return all(count <= free.get(family, count) for family, count in self.takes.get(class_id, {}).items())
