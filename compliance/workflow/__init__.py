"""The public verbs: the only place where probes, assessment, reports and packs meet.

    from compliance import audit, verify

    pack = audit(Path("audit.yaml"))
    print(verify(pack).summary())

Each verb does one stage, reads what the stage before wrote, and does nothing twice. Torch and
WeasyPrint are imported inside the functions that need them, so that ``verify`` and ``gaps`` work
in the base install.
"""

from compliance.workflow.audits import assess, audit, lock, observe, pack, plan, report
from compliance.workflow.cards import card, remove_card
from compliance.workflow.checking import verify
from compliance.workflow.features import (
    Searched,
    Shown,
    export_features,
    find_named,
    find_searched,
    show_feature,
    write_card,
)
from compliance.workflow.importing import Imported, RecipeOverview, import_suite, recipes
from compliance.workflow.starting import (
    Demo,
    demo,
    gaps,
    init,
)
from compliance.workflow.suites import Choice, check_suite, render_suite, shipped_suites

__all__ = [
    "Choice",
    "Demo",
    "Imported",
    "RecipeOverview",
    "Searched",
    "Shown",
    "assess",
    "audit",
    "card",
    "check_suite",
    "demo",
    "export_features",
    "find_named",
    "find_searched",
    "gaps",
    "import_suite",
    "init",
    "lock",
    "observe",
    "pack",
    "plan",
    "recipes",
    "remove_card",
    "render_suite",
    "report",
    "show_feature",
    "shipped_suites",
    "verify",
    "write_card",
]
