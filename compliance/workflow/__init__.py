"""The public verbs: the only place where probes, assessment, reports and packs meet.

    from compliance import audit, verify

    pack = audit(Path("audit.yaml"))
    print(verify(pack).summary())

Each verb does one stage, reads what the stage before wrote, and does nothing twice. Torch and
WeasyPrint are imported inside the functions that need them, so that ``verify`` and ``gaps`` work
in the base install.
"""

from compliance.workflow.archiving import archive_check, archive_get, archive_list
from compliance.workflow.audits import assess, audit, lock, observe, pack, plan, report
from compliance.workflow.cards import card, remove_card
from compliance.workflow.checking import Outside, verify
from compliance.workflow.comparing import diff, gate
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
from compliance.workflow.keys import ShownKey, certify_key, create_key, show_key
from compliance.workflow.redacting import (
    disclose,
    disclosure_check,
    redact,
    with_disclosures,
)
from compliance.workflow.reproducing import Again
from compliance.workflow.signing import ToSign, look_before_signing, sign
from compliance.workflow.stages import default_key
from compliance.workflow.stamping import stamp
from compliance.workflow.starting import (
    Demo,
    demo,
    gaps,
    init,
)
from compliance.workflow.suites import Choice, check_suite, render_suite, shipped_suites

__all__ = [
    "Again",
    "Choice",
    "Demo",
    "Imported",
    "RecipeOverview",
    "Outside",
    "Searched",
    "Shown",
    "ShownKey",
    "ToSign",
    "archive_check",
    "archive_get",
    "archive_list",
    "assess",
    "audit",
    "card",
    "certify_key",
    "check_suite",
    "create_key",
    "default_key",
    "demo",
    "diff",
    "disclose",
    "disclosure_check",
    "export_features",
    "find_named",
    "find_searched",
    "gaps",
    "gate",
    "import_suite",
    "init",
    "lock",
    "look_before_signing",
    "observe",
    "pack",
    "plan",
    "recipes",
    "redact",
    "remove_card",
    "render_suite",
    "report",
    "show_feature",
    "show_key",
    "shipped_suites",
    "sign",
    "stamp",
    "verify",
    "with_disclosures",
    "write_card",
]
