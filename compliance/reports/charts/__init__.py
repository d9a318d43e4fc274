"""Charts of a report: what a run saw of single items, and results that a picture says better.

Every function gives a `Chart`, or None where the context has no observations to draw. Coordinates
are observations and are read off a picture; results that stand beside them carry their ids. A place
without scores, cut-off or result says so in words.
"""

from compliance.reports.charts.calibration import calibration
from compliance.reports.charts.curve import curve
from compliance.reports.charts.density import density
from compliance.reports.charts.histogram import histogram, histograms
from compliance.reports.charts.roc import roc
from compliance.reports.charts.sweep import sweep

__all__ = ["calibration", "curve", "density", "histogram", "histograms", "roc", "sweep"]
