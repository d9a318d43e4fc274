"""The command ``features``: what it prints, writes and refuses."""

import gzip
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from compliance.cli.main import main
from tests.probes.tiny import save_tiny_sae
from tests.tiny_audit import write_audit

PROMPT = "apple zz 3 μήλο"


def run(*words: object) -> Result:
    return CliRunner().invoke(main, ["features", *map(str, words)])


def refused(*words: object) -> str:
    """The message of a command that could not tell."""
    found = run(*words)
    assert found.exit_code == 2, found.output
    assert "Traceback" not in found.output
    assert found.exception is None or isinstance(found.exception, SystemExit)
    return found.stderr


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    rows = [
        {"modelId": "m", "layer": "1-a", "index": str(i), "description": text,
         "explanationModelName": "gpt-4o-mini"}
        for i, text in enumerate(("flattery", "praise and flattery", "other\x1b[2J"))
    ]  # fmt: skip
    folder = tmp_path_factory.mktemp("labels")
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "batch-0.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    return folder


def locked_latent(path: Path, concept: str) -> int:
    found = json.loads(run("find", "--run", path, "--concept", concept, "--json").stdout)
    return found["locked"][0]["latent"]


# find


def test_find_prints_labels_best_first(labels):
    found = run("find", "flattery", "--explanations", labels)

    assert found.exit_code == 0
    assert found.stdout.splitlines()[:3] == [
        "latent  source  written by   label",
        "0       m/1-a   gpt-4o-mini  flattery",
        "1       m/1-a   gpt-4o-mini  praise and flattery",
    ]


def test_find_prints_labels_as_json_with_their_place_as_text(labels):
    (found,) = json.loads(run("find", "praise", "--explanations", labels, "--json").stdout)

    assert (found["index"], found["label"]) == (1, "praise and flattery")
    assert found["place"] == "neuronpedia.org/m/1-a/1"


def test_find_never_prints_what_would_steer_a_terminal(labels):
    assert "\x1b" not in run("find", "other", "--explanations", labels).stdout


@pytest.mark.parametrize("which", ["run", "audit", "pack"])
def test_find_shows_the_best_latents_of_a_search_and_which_is_locked(
    which, finished_audit, finished_pack
):
    (folder,) = (p for p in (finished_audit / "runs").iterdir() if p.is_dir())
    path = {"run": folder, "audit": finished_audit / "audit.yaml", "pack": finished_pack}[which]

    found = run("find", "--run", path, "--concept", "danger", "-n", "3")

    lines = found.stdout.splitlines()
    assert found.exit_code == 0
    assert "2 positives and 2 hard negatives of the discover split, en" in lines[0]
    assert len(lines) == 6
    assert lines[2].endswith("locked")
    assert "locked" not in "".join(lines[3:5])
    assert "best of 64" in lines[-1] and "too good" in lines[-1]
    areas = [float(line.split()[0]) for line in lines[2:5]]
    assert areas == sorted(areas, reverse=True)


def test_the_first_of_a_search_is_what_the_lock_chose(finished_audit):
    lock = next((finished_audit / "runs").glob("*/lock.json"))
    locked = {
        p["concept"]: (p["features"][0]["latent"], p["selection"]["auroc"])
        for p in json.loads(lock.read_bytes())["probes"]
    }

    for concept, expected in locked.items():
        found = run("find", "--run", lock.parent, "--concept", concept, "--json")
        best = json.loads(found.stdout)["latents"][0]
        assert (best["feature"]["latent"], best["auroc"]) == expected


def test_find_refuses_what_is_half_a_question(labels, finished_pack, tmp_path):
    assert "either TEXT and --explanations" in refused("find")
    assert "needs both TEXT" in refused("find", "flattery")
    assert "--run and --concept" in refused("find", "--run", finished_pack)
    assert "either" in refused("find", "x", "--explanations", labels, "--concept", "danger")
    assert "no word to search for" in refused("find", " ", "--explanations", labels)
    assert "is no audit.yaml, no run and no pack" in refused(
        "find", "--run", tmp_path, "--concept", "danger"
    )
    message = refused("find", "--run", finished_pack, "--concept", "nothing")
    assert "'nothing' is not planned" in message and "danger, flattery" in message


# show


@pytest.fixture(scope="module")
def shown(finished_audit):
    found = run("show", finished_audit / "audit.yaml", 20, "--prompt", PROMPT, "--attention",
                "--json")  # fmt: skip
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


def test_show_tells_weights_logits_and_neighbours(shown, finished_audit):
    printed = run("show", finished_audit / "audit.yaml", 20).stdout

    assert shown["sae"]["hook_name"] == "blocks.1.hook_resid_post"
    assert len(shown["top"]) == len(shown["bottom"]) == len(shown["nearest"]) == 10
    assert f"decoder norm  {shown['decoder_norm']:.4g}" in printed
    assert f"{shown['nearest'][0][0]} ({shown['nearest'][0][1]:.3f})" in printed
    assert "names no place there" in printed and shown["place"] is None


def test_show_puts_a_bar_and_a_number_beside_each_token(shown, finished_audit):
    printed = run("show", finished_audit / "audit.yaml", 20, "--prompt", PROMPT).stdout
    tokens = shown["prompt"]["tokens"]
    lines = printed.split("\n\n")[1].splitlines()[1:]

    assert len(lines) == len(tokens) == len(PROMPT.encode())
    largest = max(token["activation"] for token in tokens)
    for line, token in zip(lines, tokens, strict=True):
        blocks = line[12:32].count("█")
        assert float(line[:10]) == float(f"{token['activation']:.4g}")
        assert abs(blocks - 20 * token["activation"] / largest) <= 1
    assert "".join(PROMPT[t["start"] : t["end"]] for t in tokens[:10]) == PROMPT[:10]


def test_show_says_where_the_strongest_token_looks(shown, finished_audit):
    printed = run("show", finished_audit / "audit.yaml", 20, "--prompt", PROMPT, "--attention")
    prompt = shown["prompt"]
    seen, tokens = prompt["attention"], prompt["tokens"]
    strongest = max(range(len(tokens)), key=lambda i: tokens[i]["activation"])
    place = seen["content"][strongest]
    shares = [(head[place][to], h, to) for h, head in enumerate(seen["weights"])
              for to in range(len(seen["tokens"]))]  # fmt: skip
    share, head, to = max(shares)

    assert len(seen["weights"]) == 4
    assert all(abs(sum(row) - 1) < 1e-3 for head in seen["weights"] for row in head)
    table = printed.stdout.split("token of the input\n")[1].splitlines()
    assert table[0].split()[:3] == [f"{share:.3f}", str(head), str(to + 1)]


def test_show_says_so_where_a_latent_is_silent(finished_audit):
    for latent in range(64):
        found = run("show", finished_audit / "audit.yaml", latent, "--prompt", "a", "--attention")
        if "active on no token" in found.stdout:
            assert "attention" not in found.stdout
            return
    pytest.fail("every latent fires on one letter")


def test_show_names_the_place_on_neuronpedia_as_text(tmp_path):
    path = write_audit(tmp_path)
    for place, printed in (
        ("tiny/1-res", "neuronpedia.org/tiny/1-res/7\n"),
        ("../../1-res", "names no place there"),
        (7, "names no place there"),
    ):
        save_tiny_sae(tmp_path / "sae", metadata={"neuronpedia_id": place})

        assert printed in run("show", path, 7).stdout


def test_show_refuses_what_is_not_there(finished_audit, tmp_path):
    path = finished_audit / "audit.yaml"

    assert "has latents 0 to 63" in refused("show", path, 64)
    assert "names 1, counted from 0" in refused("show", path, 1, "--sae", 1)
    assert "--prompt" in refused("show", path, 1, "--attention")
    assert "0 characters" in refused("show", path, 1, "--prompt", "")


# card


def page_of(path: Path) -> str:
    html = path.read_text(encoding="utf-8")
    ids = set(re.findall(r'\bid="([^"]*)"', html))
    assert not re.search(r'<script|\bsrc=|href="[^#]|\bstyle=|\bon[a-z]+=', html)
    assert "default-src &#39;none&#39;" in html
    assert {target for target in re.findall(r'href="#([^"]*)"', html)} <= ids
    assert len(re.findall(r'\bid="', html)) == len(ids)
    return html


def test_a_pack_gives_the_card_of_a_concept(finished_audit, finished_pack, tmp_path):
    of_pack, of_audit = tmp_path / "a.html", tmp_path / "b.html"
    latent = locked_latent(finished_pack, "danger")

    assert run("card", finished_pack, "danger", "-o", of_pack).stdout.strip() == str(of_pack)
    assert run("card", finished_audit / "audit.yaml", latent, "-o", of_audit).exit_code == 0

    html = page_of(of_pack)
    assert "<h1>Danger</h1>" in html
    assert f"feature {latent} of sae" in html
    assert "danger-" in html
    cards = [p.split('<section class="card"')[1] for p in (html, page_of(of_audit))]
    assert cards[0] == cards[1]


def test_words_that_a_pack_withholds_stay_out_of_the_card(finished_pack):
    from compliance.catalog.load import load_catalog
    from compliance.reports.context import Context
    from compliance.reports.feature_page import locked_cards, render_feature_page
    from compliance.reports.messages import load_messages
    from compliance.workflow import features

    def page(seen: features.Seen) -> str:
        words, observed = load_messages("en"), features._observed(seen)
        cards = locked_cards(Context(seen.evidence(), load_catalog(), words, observed))
        return render_feature_page(
            title="x", packed="x", cards=[card for *_, card in cards], shown=[]
        )

    with features.open_seen(finished_pack) as seen:
        whole = page(seen)
        withheld = page(features.Seen(**{**vars(seen), "shown": lambda: []}))

    assert '<p class="words"' in whole
    assert '<p class="words"' not in withheld and "Strongest token" not in withheld
    assert withheld.count("danger-0") > 10


def test_a_card_refuses_items_that_are_not_as_planned(finished_audit, tmp_path):
    folder = tmp_path / "audit"
    shutil.copytree(finished_audit, folder)
    suite = folder / "suite" / "items.jsonl"
    changed = suite.read_text(encoding="utf-8").replace("zz 1", "zz 2")
    suite.write_text(changed, encoding="utf-8")

    assert "is not as it was planned" in refused(
        "card", folder / "audit.yaml", "danger", "-o", tmp_path / "b.html"
    )


def test_a_card_shows_a_prompt_and_attention(finished_audit, tmp_path):
    target = tmp_path / "card.html"

    found = run("card", finished_audit / "audit.yaml", "danger", "-o", target, "--prompt",
                "zz <script>", "--attention")  # fmt: skip

    assert found.exit_code == 0, found.output
    html = page_of(target)
    assert "&lt;" in html.split("On a prompt")[1]
    assert len(re.findall(r'<svg role="img"[^>]*aria-label="Head \d', html)) == 4
    assert re.search(r"Strongest at token \d+ of the prompt", html)


def test_a_latent_that_is_not_locked_has_its_weights(finished_audit, finished_pack, tmp_path):
    locked = {locked_latent(finished_pack, concept) for concept in ("danger", "flattery")}
    other = min(set(range(64)) - locked)
    target = tmp_path / "card.html"

    assert run("card", finished_audit / "audit.yaml", other, "-o", target).exit_code == 0
    assert "In the weights" in page_of(target) and "What was locked" not in page_of(target)
    message = refused("card", finished_pack, other, "-o", tmp_path / "none.html")
    assert "is not locked for any concept" in message and "audit.yaml" in message
    assert not (tmp_path / "none.html").exists()


def test_a_card_refuses_what_is_not_there(finished_pack, tmp_path):
    target = tmp_path / "card.html"

    assert "concepts are danger, flattery" in refused("card", finished_pack, "none", "-o", target)
    assert "holds no model" in refused("card", finished_pack, "danger", "-o", target, "--prompt",
                                       "x")  # fmt: skip
    assert not target.exists()


# export


def test_what_is_exported_can_be_found_again(finished_audit, finished_pack, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"

    printed = run("export", finished_pack, "-o", one)
    run("export", finished_audit / "audit.yaml", "-o", two)
    found = run("find", "danger", "--explanations", one / "tiny-llama/1-sae/explanations", "--json")

    files = [path for path in one.rglob("*") if path.is_file()]
    assert sorted(printed.stdout.split()) == sorted(map(str, files))
    assert {p: p.read_bytes() for p in files} == {p: (two / p.relative_to(one)).read_bytes()
                                                 for p in files}  # fmt: skip
    (label,) = json.loads(found.stdout)
    assert label["index"] == locked_latent(finished_pack, "danger")
    assert {score["kind"].split("/")[1] for score in label["scores"]} >= {"auroc-hard"}


def test_exported_texts_are_those_of_confirm_items_as_they_were_read(finished_pack, tmp_path):
    run("export", finished_pack, "-o", tmp_path / "out")
    lines = (finished_pack / "data" / "items.jsonl").read_text(encoding="utf-8").splitlines()
    items = {item["item"]["id"]: item["item"] for item in map(json.loads, lines)}
    packed = tmp_path / "out/tiny-llama/1-sae/activations/batch-0.jsonl.gz"

    rows = [json.loads(line) for line in gzip.decompress(packed.read_bytes()).splitlines()]

    assert len(rows) == 80
    for row in rows:
        item = items[row["dataSource"].split("/")[1]]
        words = item.get("text") or "".join(m["content"] for m in item["messages"])
        assert "".join(row["tokens"]) == words
        assert row["maxValue"] == max(row["values"]) > 0


def test_a_restricted_item_is_never_exported(finished_audit):
    from compliance.workflow import features

    def exported(seen: features.Seen) -> set[str]:
        return {e.place for f in features._locked_features(seen) for e in f.examples}

    with features.open_seen(finished_audit / "audit.yaml") as seen:
        whole = exported(seen)
        place = min(whole)
        shown = [
            item.model_copy(update={"restricted": True}) if place.endswith(f"/{item.id}") else item
            for item in seen.shown()
        ]
        left = exported(features.Seen(**{**vars(seen), "shown": lambda: shown}))

    assert whole - left == {place}


def test_an_export_is_never_overwritten(finished_pack, tmp_path):
    assert "is there already" in refused("export", finished_pack, "-o", tmp_path)


# features from a list


def list_file(folder: Path, *entries: dict, model: str = "tiny", source: str = "1-res") -> None:
    features = [{"modelId": model, "layer": source, **entry} for entry in entries]
    (folder / "list.json").write_text(json.dumps({"features": features}), encoding="utf-8")


def planned(path: Path) -> Result:
    return CliRunner().invoke(main, ["plan", str(path), "--json"])


def with_list(folder: Path, neuronpedia_id: str | None = None) -> Path:
    path = write_audit(folder, probes=[{"concept": "danger",
                                        "features": {"neuronpedia": "list.json"}}])  # fmt: skip
    if neuronpedia_id:
        save_tiny_sae(folder / "sae", metadata={"neuronpedia_id": neuronpedia_id})
    return path


def test_a_list_gives_indices_and_labels_and_the_plan_holds_them(tmp_path):
    path = with_list(tmp_path, "tiny/1-res")
    list_file(tmp_path, {"index": 20, "description": "threats"}, {"index": "35"})

    found = planned(path)

    (probe,) = json.loads(found.stdout)["probes"]
    assert probe["features"] == [{"sae": 0, "latent": 20, "label": "threats"},
                                 {"sae": 0, "latent": 35}]  # fmt: skip
    assert probe["listed"]["file"] == "list.json"
    assert (probe["listed"]["model"], probe["listed"]["source"]) == ("tiny", "1-res")
    assert probe["listed"]["digest"].startswith("sha256:")
    assert "where Neuronpedia shows the first SAE" in found.stderr


def test_what_cannot_be_compared_is_said(tmp_path):
    path = with_list(tmp_path)
    list_file(tmp_path, {"index": 20})

    found = planned(path)

    assert found.exit_code == 0
    assert "unchecked: sae does not say where Neuronpedia shows it" in found.stderr


def test_a_list_of_another_saes_features_is_refused(tmp_path):
    path = with_list(tmp_path, "tiny/1-res")
    list_file(tmp_path, {"index": 20}, source="2-res")

    found = planned(path)

    assert found.exit_code == 2
    assert "list.json is about tiny/2-res, the first SAE is tiny/1-res" in found.stderr


def test_a_latent_of_a_list_that_the_sae_lacks_is_refused(tmp_path):
    path = with_list(tmp_path)
    list_file(tmp_path, {"index": 64})

    assert "latent 64 is not in the SAE" in planned(path).stderr


def test_a_list_that_changed_after_planning_is_noticed(tmp_path):
    path = with_list(tmp_path)
    list_file(tmp_path, {"index": 20})
    planned(path)
    list_file(tmp_path, {"index": 21})

    found = CliRunner().invoke(main, ["observe", str(path)])

    assert found.exit_code == 2
    assert "what is here is not what was planned" in found.stderr


def test_a_missing_list_is_named(tmp_path):
    found = planned(with_list(tmp_path))

    assert found.exit_code == 2
    assert "list.json: no such file" in found.stderr


def test_unknown_keys_beside_a_list_are_refused(tmp_path):
    path = write_audit(tmp_path)
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    config["probes"] = [{"concept": "danger", "features": {"neuronpedia": "a", "take": 3}}]
    path.write_text(yaml.safe_dump(config), encoding="utf-8")

    assert "unknown key" in planned(path).stderr
