"""Estimators with intervals: numpy and scipy only, no files, no clock, no models.

Every function here is a pure function of its arguments. Where chance is needed the seed is an
argument and the stream is numpy's frozen ``RandomState``. Impossible input (a NaN score, a
negative count, an empty sample) raises `compliance.errors.StatisticsError`; a number that does
not exist for possible input is ``None``, never NaN.

Each estimator lives in the module named after what it estimates, and is imported from there::

    from compliance.statistics.proportion import wilson

    wilson(9, 10).low
"""
