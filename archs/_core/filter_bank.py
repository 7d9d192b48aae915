"""Windows on images: grids of Gaussian filters, as K. Gregor et al. 2015, section 3.2, have them.

Rows and columns of an image count from 1, and so do those of a grid.
"""

import math

from keras import ops

from archs._core.cell import widen

PARAMETERS = 5  # of a window: centre along the columns and along the rows, log variance, log stride, log intensity
_FLOOR = 1e-8  # of what a filter's weights sum up to before they are normalised: one far outside has none


def at_first(rows, columns, size):
    """Parameters of a window (5,) over the whole image, whose filters overlap: their deviation is half their stride.

    With a deviation of a pixel, few filters would see next to nothing of a large image, and get no gradient.
    """
    return [0.0, 0.0, 2 * math.log(_stride(rows, columns, size) / 2), 0.0, 0.0]


def _stride(rows, columns, size):
    """The stride of filters over the whole image; where there is one, the side of the image."""
    return max(max(rows, columns) - 1, 1) / max(size - 1, 1)


class Window:
    """A window on images, one for each row of a batch.

    Args:
        parameters: float tensor (..., 5); they are read in single precision at least.
        rows, columns: of the images.
        size: N, of a side of the grid.

    Attributes:
        x, y: centre of the grid, along the columns and along the rows, each (..., 1).
        deviation: of the filters in pixels, (..., 1).
        stride: between the filters in pixels, (..., 1).
        intensity: (..., 1).
    """

    def __init__(self, parameters, rows, columns, size):
        x, y, log_variance, log_stride, log_intensity = ops.split(widen(parameters), PARAMETERS, axis=-1)
        self.x, self.y = (columns + 1) / 2 * (x + 1), (rows + 1) / 2 * (y + 1)
        self.deviation, self.intensity = ops.exp(log_variance / 2), ops.exp(log_intensity)
        self.stride = _stride(rows, columns, size) * ops.exp(log_stride)
        self._rows, self._columns, self._size = rows, columns, size

    def filters(self):
        """The filters along the rows, (..., N, rows), and along the columns, (..., N, columns)."""
        return self._along(self.y, self._rows), self._along(self.x, self._columns)

    def _along(self, centre, count):
        dtype, size = centre.dtype, self._size
        places = centre + (ops.arange(1, size + 1, dtype=dtype) - size / 2 - 0.5) * self.stride
        distances = (ops.arange(1, count + 1, dtype=dtype) - places[..., None]) / self.deviation[..., None]
        weights = ops.exp(-ops.square(distances) / 2)
        return weights / ops.maximum(ops.sum(weights, axis=-1, keepdims=True), _FLOOR)

    def read(self, *images):
        """The grids of images (batch, rows, columns), each (batch, N * N), row by row, times the intensity."""
        down, across = self.filters()
        across = ops.transpose(across, (0, 2, 1))
        grids = [ops.matmul(ops.matmul(down, ops.cast(image, down.dtype)), across) for image in images]
        return [self.intensity * ops.reshape(grid, (-1, self._size**2)) for grid in grids]

    def write(self, grid):
        """The image (batch, rows * columns) that a grid (batch, N * N) paints, divided by the intensity."""
        down, across = self.filters()
        grid = ops.reshape(ops.cast(grid, down.dtype), (-1, self._size, self._size))
        image = ops.matmul(ops.matmul(ops.transpose(down, (0, 2, 1)), grid), across)
        return ops.reshape(image, (-1, self._rows * self._columns)) / self.intensity

    def seen(self):
        """Tells, for pictures, where the window is: a dict of `x`, `y`, `side`, `deviation`, `intensity`, each (...).

        `x` and `y` are 1 in the middle of the first pixel; `side` goes from the first filter to the last.
        """
        told = {"x": self.x, "y": self.y, "side": (self._size - 1) * self.stride, "deviation": self.deviation}
        return {name: value[..., 0] for name, value in (told | {"intensity": self.intensity}).items()}
