"""YAML from strangers: audits, suites, mappings, and the law that an auditor brings."""

import pytest

from tests.hostile.conftest import Attack

GOOD = (
    "subject: {model: ./model, saes: [{path: ./sae}]}\nsuites: [./suite]\n"
    "probes:\n  - {concept: danger}\nlanguages: [en]\n"
)
ATTACKS = {
    "an object of Python": ("x: !!python/object/apply:os.system ['touch canary']", "a tag"),
    "a tag under another name": ("x: !!timestamp x", "a tag"),
    "a tag that the safe loader chokes on": ("x: !!bool x", "a tag"),
    "an alias bomb": ("x: &a [1]\ny: &b [*a, *a, *a]\nz: [*b, *b, *b]", "an anchor"),
    "an alias": ("y: *a", "an alias"),
    "a merge key that hides a value": ("<<: {seed: 3}", "merge key"),
    "a key that is a list": ("? [a, b]\n: 1", "a key that is a list"),
    "a key that is a mapping": ("? {a: b}\n: 1", "a key that is a list"),
    "a key twice": ("seed: 1\nseed: 2", "appears twice"),
    "a number in base 60": ("seed: 1" + ":1" * 400_000, "as a number"),
    "a fraction in base 60": ("seed: 1" + ":1" * 2000 + ".0", "as a number"),
    "a number of 100,000 digits": ("seed: " + "9" * 100_000, "as a number"),
    "the same in hexadecimal": ("seed: 0x" + "f" * 100_000, "as a number"),
    "a number beyond all": ("alpha: 1e400", "finite number"),
    "not a number": ("alpha: .nan", "finite number"),
    "lists in lists": ("x: " + "[" * 100_000, "levels deep"),
    "mappings in mappings": ("".join(" " * i + "a:\n" for i in range(1000)), "levels deep"),
    "half a million values": ("x: [" + "1," * 500_000 + "1]", "keys and values"),
    "100,000 unknown keys": ("".join(f"k{i}: 1\n" for i in range(20_000)), "problems more"),
    "a huge scalar": ("x: " + "a" * 1_900_000, "unknown key"),
    "more than is read": ("x: " + "a" * 2_100_000, "larger than"),
    "a date that is none": ("x: 2001-99-99", "not valid YAML"),
    "a NUL": ("x: \0", "not valid YAML"),
    "half a character": ('x: "\\ud800"', "half of a character"),
    "a second document": ("---\na: 1", "another document"),
    "a language of 100,000 letters": ("claims: {reference_language: " + "a-" * 50_000 + "a}", ""),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_it_is_refused(attack: Attack, name: str):
    text, message = ATTACKS[name]

    outcome = attack("audit.yaml", GOOD + text + "\n")

    assert outcome.error == "ConfigError"
    assert message in outcome.message


@pytest.mark.parametrize("name", ["an alias bomb", "a merge key that hides a value", "a key twice"])
def test_a_suite_and_a_law_are_read_as_strictly(attack: Attack, name: str):
    text = ATTACKS[name][0]

    assert attack("suite.yaml", text).error == "SuiteError"
    assert attack("provisions.yaml", text).error == "CatalogError"


def test_a_tag_that_stands_for_another_is_refused(attack: Attack):
    text = "%TAG ! tag:yaml.org,2002:python/\n---\na: !object/new:os.system [touch canary]\n"

    assert "a tag" in attack("audit.yaml", text).message


def test_a_pipe_does_not_hold_the_program_up(attack: Attack, tmp_path):
    import os

    def pipe(path):
        path.unlink()
        os.mkfifo(path)

    assert "not a regular file" in attack("audit.yaml", prepare=pipe).message


def test_a_device_without_end_is_not_read(attack: Attack):
    def device(path):
        path.unlink()
        path.symlink_to("/dev/zero")

    assert "not a regular file" in attack("audit.yaml", prepare=device).message
