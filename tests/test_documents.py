"""Every mistake in a file a person writes is told with its line."""

import pytest

from compliance.documents import MAX_BYTES, parse_yaml, read_json_lines, read_yaml
from compliance.errors import ConfigError
from compliance.records.audit import AuditConfig, SaeRef

GOOD = """\
subject:
  model: ./model
  saes:
    - path: ./sae
suites: [compliance:seed]
probes:
  - concept: deception
languages: [en, ja]
"""


def read(text: str) -> AuditConfig:
    return parse_yaml(text, "audit.yaml", AuditConfig)


def test_defaults_are_those_of_the_protocol():
    config = read(GOOD)

    assert (config.alpha, config.claims.non_inferiority_margin, config.seed) == (
        0.01,
        0.15,
        20260101,
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("languages: [en, ja]", "languages: [en, jp]", "line 8: languages.1: 'jp' is not a BCP 47"),
        ("suites:", "suits:", "line 5: unknown key 'suits'"),
        ("    - path: ./sae", "    - pth: ./sae", "line 4: unknown key 'subject.saes.0.pth'"),
        ("languages: [en, ja]", "languages: [ja]", "reference_language: 'en' is not among"),
        ("concept: deception", "concept: Bad Name", "line 7: probes.0.concept: string should"),
        ("languages: [en, ja]", "languages: [en, ja]\nalpha: 2", "line 9: alpha: input should be"),
        ("languages: [en, ja]", "languages: [en, ja]\nalpha: 0.1\nalpha: 0.2", "appears twice"),
        ("languages: [en, ja]", "languages: &a [en]\nsuites: *a", "an anchor"),
        ("languages: [en, ja]", "languages: [en, ja]\nx: *a", "an alias"),
        ("./model", '"\\ud800"', "line 2: not valid YAML: half of a character"),
        ("probes:", "probes", "not valid YAML"),
        ("./model", "./model\n  revision: !!python/object:os.system x", "not valid YAML"),
    ],
)
def test_a_mistake_is_told_with_its_line(old, new, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read(GOOD.replace(old, new))

    assert caught.value.hint


def test_all_mistakes_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        read(GOOD.replace("suites:", "suits:").replace("[en, ja]", "[en, jp]"))

    assert str(caught.value).count("audit.yaml, line") == 3


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words\n"])
def test_what_is_no_mapping_is_refused(text):
    with pytest.raises(ConfigError, match="expected keys and values"):
        read(text)


def test_a_missing_file_and_a_huge_one_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        read_yaml(tmp_path / "audit.yaml", AuditConfig)
    (tmp_path / "big.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigError, match="larger than"):
        read_yaml(tmp_path / "big.yaml", AuditConfig)


def test_deep_nesting_ends_in_a_message():
    with pytest.raises(ConfigError):
        read("a: " + "[" * 5000)


def test_half_a_character_in_a_line_of_json_is_named_with_its_line(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text('{"path": "./sae"}\n{"path": "\\ud800"}\n', encoding="utf-8")

    lines = read_json_lines(path, SaeRef)

    first = next(lines)
    assert (first.record.path, first.start, first.data) == ("./sae", 0, b'{"path": "./sae"}\n')
    with pytest.raises(ConfigError, match="line 2: not a JSON object: half of a character"):
        next(lines)
