"""Makes pictures of words: a suite's texts, black on white, the same bytes everywhere.

``fonts`` says what draws a character, ``layout`` where lines end, ``draw`` makes the picture and
``typographic`` the suite. With the same fonts and the same Pillow, equal items give equal files;
what drew them is in the suite's datasheet.
"""
