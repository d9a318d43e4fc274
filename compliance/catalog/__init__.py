"""The law as data: what a provision says, from when, and what evidence can say about it.

    catalog = load_catalog()
    catalog.provision("13(3)(b)(ii)").official_text
    gaps(system, catalog)

No article number and no date stands in code; all of them are in ``evidence/catalog``.
"""

from compliance.catalog.citations import display
from compliance.catalog.declarations import Gap, answer, gaps, scaffold_system
from compliance.catalog.load import Catalog, load_catalog

__all__ = ["Catalog", "Gap", "answer", "display", "gaps", "load_catalog", "scaffold_system"]
