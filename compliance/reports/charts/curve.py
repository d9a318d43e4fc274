"""A line with its interval, in a plane: ROC curves now, whatever else is measured along an axis."""

from collections.abc import Sequence

from compliance.records.chart import Shape
from compliance.reports.charts.drawing import Frame, Point, polygon, polyline

Interval = tuple[float, float, float]
"""A place along the axis, and the low and high end there."""


def curve(
    frame: Frame, points: Sequence[Point], *, band: Sequence[Interval] = ()
) -> tuple[Shape, ...]:
    """A line through points, over the band of their intervals.

    Args:
        frame: The plane.
        points: In the order in which the line runs; none draws nothing.
        band: Intervals in the same order.
    """
    shapes = []
    if band:
        upper = [frame.at((x, high)) for x, _, high in band]
        lower = [frame.at((x, low)) for x, low, _ in reversed(band)]
        shapes.append(Shape(look="band", path=polygon([*upper, *lower])))
    if points:
        shapes.append(Shape(look="line", path=polyline([frame.at(p) for p in points])))
    return tuple(shapes)
