"""The public verbs: the only place where probes, assessment, reports and packs meet.

    from compliance import audit, verify

    pack = audit(Path("audit.yaml"))
    print(verify(pack).summary())

Each verb does one stage, reads what the stage before wrote, and does nothing twice. Torch and
WeasyPrint are imported inside the functions that need them, so that ``verify`` and ``gaps`` work
in the base install. A verb's module is loaded when the verb is first asked for, so that
``compliance COMMAND --help`` loads none of them.
"""

from importlib import import_module

_MODULES = {
    "archiving": ("archive_check", "archive_get", "archive_list"),
    "audits": ("assess", "audit", "lock", "observe", "pack", "plan", "report"),
    "cards": ("card", "remove_card"),
    "checking": ("Outside", "verify"),
    "comparing": ("compare_packs", "diff", "gate"),
    "features": (
        "Searched",
        "Shown",
        "export_features",
        "find_named",
        "find_searched",
        "show_feature",
        "write_card",
    ),
    "importing": ("Imported", "RecipeOverview", "import_suite", "recipes"),
    "keys": ("ShownKey", "certify_key", "create_key", "show_key"),
    "monitoring": ("check_log", "label_alerts", "queue_alerts", "report_monitoring"),
    "redacting": ("disclose", "disclosure_check", "redact", "with_disclosures"),
    "reproducing": ("Again",),
    "signing": ("ToSign", "look_before_signing", "sign"),
    "stages": ("default_key",),
    "stamping": ("stamp",),
    "studies": ("mitigate",),
    "starting": ("Demo", "demo", "gaps", "init"),
    "suites": ("Choice", "check_suite", "render_suite", "shipped_suites"),
}
"""Where each name is defined."""

_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
