"""Colours for classes that have none."""

from __future__ import annotations


def voc_colour(index: int) -> tuple[int, int, int]:
    """Return colour `index` (R, G, B) of Pascal VOC's colour map; 0 is black.

    The map spreads the bits of the index over the channels, high bits first (Everingham et al., VOC devkit).

    >>> voc_colour(1), voc_colour(2)
    ((128, 0, 0), (0, 128, 0))
    """
    channels = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            channels[channel] |= ((index >> (3 * bit + channel)) & 1) << (7 - bit)
    return channels[0], channels[1], channels[2]
