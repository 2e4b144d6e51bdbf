"""Draws small grey images with characters."""

import numpy as np

#: Characters and lines of a picture: a character is twice as high as wide.
WIDTH, HEIGHT = 12, 6
_RAMP = " .:-=+*#%@"


def draw(screen, image):
    """Return the lines of a picture of an image, its darkest value empty, its largest full."""
    image = np.clip(image, 0, None) / image.max()
    if not screen.color:
        levels = (_resize(image, HEIGHT, WIDTH) * (len(_RAMP) - 1)).round().astype(int)
        return ["".join(_RAMP[level] for level in row) for row in levels]
    # Two pixels a character: the upper half block in one grey, on a background of another.
    greys = 232 + (_resize(image, 2 * HEIGHT, WIDTH) * 23).round().astype(int)
    return [
        "".join(f"\x1b[38;5;{u};48;5;{v}m▀" for u, v in zip(upper, lower, strict=True)) + "\x1b[0m"
        for upper, lower in zip(greys[::2], greys[1::2], strict=True)
    ]


def side_by_side(screen, pictures, gap=3):
    """Yield the lines of pictures in rows of equal length that fit the screen."""
    room = max(1, (screen.width - 2 + gap) // (WIDTH + gap))
    n_rows = -(-len(pictures) // room)
    length = -(-len(pictures) // n_rows)
    for start in range(0, len(pictures), length):
        if start:
            yield ""
        for lines in zip(*pictures[start : start + length], strict=True):
            yield "  " + (" " * gap).join(lines)


def _resize(image, height, width):
    """Resample an image by linear interpolation."""
    return _weights(len(image), height) @ image @ _weights(image.shape[1], width).T


def _weights(n_from, n_to):
    """Matrix (n_to, n_from) that interpolates n_from points, at the centres of equal cells."""
    position = (np.arange(n_to) + 0.5) * n_from / n_to - 0.5
    left = np.clip(np.floor(position).astype(int), 0, n_from - 2)
    share = np.clip(position - left, 0, 1)
    matrix = np.zeros((n_to, n_from))
    matrix[np.arange(n_to), left] = 1 - share
    matrix[np.arange(n_to), left + 1] += share
    return matrix
