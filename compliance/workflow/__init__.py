"""The public verbs: the only place where probes, assessment, reports and packs meet.

    from compliance import audit, verify

    pack = audit(Path("audit.yaml"))
    print(verify(pack).summary())

Each verb does one stage, reads what the stage before wrote, and does nothing twice. Torch and
WeasyPrint are imported inside the functions that need them, so that ``verify`` and ``gaps`` work
in the base install.
"""

from compliance.workflow.audits import assess, audit, lock, observe, pack, plan, report
from compliance.workflow.checking import verify
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
    "assess",
    "audit",
    "check_suite",
    "demo",
    "gaps",
    "import_suite",
    "init",
    "lock",
    "observe",
    "pack",
    "plan",
    "recipes",
    "render_suite",
    "report",
    "shipped_suites",
    "verify",
]
