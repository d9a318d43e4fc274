"""The stages of an audit, together and one by one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from compliance import workflow
from compliance.cli.console import Console, print_json
from compliance.cli.key_options import certificate_option, key_source, signer_options

if TYPE_CHECKING:
    from compliance.keys.opening import KeySource
    from compliance.workflow.engines import RayOptions

audit_file = click.argument(
    "audit_yaml",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default="audit.yaml",
)
issuer_options = signer_options(
    "The issuer's private key: a PEM file, or a pkcs11: URI. Default: keys/issuer.pem, made when "
    "missing."
)
languages_option = click.option(
    "--report-language",
    "languages",
    metavar="TAG",
    multiple=True,
    help="A report in this language too: de, fr or el. May be given several times.",
)
as_json = click.option("--json", "json_output", is_flag=True, help="Print the record as JSON.")

_ENGINE_OPTIONS = (
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        help="What runs the model: this process, or a Ray cluster. Results are the same. "
        "Default: local.",
    ),
    click.option(
        "--ray-address",
        "address",
        metavar="ADDRESS",
        help="A cluster that runs, such as 'auto' on one of its nodes. Default: one of this "
        "machine alone.",
    ),
    click.option(
        "--staging",
        metavar="URL",
        help="A folder or a bucket (s3://...) that all nodes can write. Default: a folder of the "
        "run.",
    ),
    click.option(
        "--actors",
        type=click.IntRange(min=1),
        help="Copies of the model at most. Default: as many as the cluster has room for.",
    ),
    click.option(
        "--cpus-per-actor", "cpus", type=click.FloatRange(min=0), help="Cores of each. Default: 1."
    ),
    click.option(
        "--gpus-per-actor",
        "gpus",
        type=click.FloatRange(min=0),
        help="GPUs of each, or the part of one. Default: 1 where subject.device is cuda.",
    ),
)


def engine_options(command: Any) -> Any:
    """Where the model runs; the command takes ``engine`` and the cluster's options."""
    for option in reversed(_ENGINE_OPTIONS):
        command = option(command)
    return command


def _ray(engine: str, options: dict[str, Any]) -> RayOptions | None:
    given = {name: value for name, value in options.items() if value is not None}
    if engine == "ray":
        from compliance.workflow.engines import RayOptions

        return RayOptions(**given)
    if given:
        raise click.UsageError("options of a cluster were given without --engine ray")
    return None


@click.command()
@audit_file
@issuer_options
@certificate_option
@languages_option
@engine_options
def audit(
    audit_yaml: Path, key: str | None, name: str | None, passphrase_file: Path | None,
    certificate: Path | None, languages: tuple[str, ...], engine: str, **cluster: Any,
) -> None:  # fmt: skip
    """Plan, observe, lock, observe, assess, report and pack. Resumes where it stopped."""
    source = _issuer(audit_yaml, key, name, certificate, passphrase_file)
    ray = _ray(engine, cluster)
    pack = workflow.audit(audit_yaml, key=source, languages=languages, progress=Console(), ray=ray)
    click.echo(pack)


def _issuer(
    audit_yaml: Path, key: str | None, name: str | None, certificate: Path | None,
    passphrase_file: Path | None,
) -> KeySource:  # fmt: skip
    path = key or workflow.default_key(audit_yaml.parent)
    return key_source(path, name, certificate, passphrase_file)


@click.command()
@audit_file
@as_json
def plan(audit_yaml: Path, json_output: bool) -> None:
    """Freeze what is to be measured."""
    frozen = workflow.plan(audit_yaml, Console())
    if json_output:
        print_json(frozen)
        return
    click.echo(f"planned {len(frozen.cells)} cells, {len(frozen.probes)} concepts")
    for suite in frozen.suites:
        click.echo(f"suite {suite.name} {suite.version}: {suite.items:,} items, {suite.digest}")
    click.echo("next: compliance observe")


@click.command()
@audit_file
@engine_options
def observe(audit_yaml: Path, engine: str, **cluster: Any) -> None:
    """Run the next pass: fit before the lock, confirm after it."""
    stage = workflow.observe(audit_yaml, Console(), ray=_ray(engine, cluster))
    click.echo(f"pass {stage!r} is complete")
    click.echo(f"next: compliance {'lock' if stage == 'fit' else 'assess'}")


@click.command()
@audit_file
@as_json
def lock(audit_yaml: Path, json_output: bool) -> None:
    """Freeze probe, cut-offs and controls before the confirm split is opened."""
    locked = workflow.lock(audit_yaml, Console())
    if json_output:
        print_json(locked)
        return
    for probe in locked.probes:
        names = ", ".join(f"SAE {f.sae} latent {f.latent}" for f in probe.features)
        click.echo(f"{probe.concept}: {names}")
    click.echo("next: compliance observe")


@click.command()
@audit_file
@as_json
def assess(audit_yaml: Path, json_output: bool) -> None:
    """Compute every result and verdict from the observations."""
    evidence = workflow.assess(audit_yaml, Console())
    if json_output:
        print_json(evidence)
        return
    for finding in evidence.findings:
        click.echo(f"{finding.cell.key}: {finding.verdict}")
    for influence in evidence.influences or ():
        click.echo(f"{influence.cell.key}: features changed, {influence.statement}")
    click.echo("next: compliance report, or compliance pack")


@click.command()
@audit_file
@click.option(
    "--language",
    metavar="TAG",
    default="en",
    help="Of the report's own words: en, de, fr or el. Default: en.",
)
@click.option(
    "--level",
    type=click.Choice(["brief", "standard", "full"]),
    help="Of the PDF: two pages, about twenty, or all. Default: one of each.",
)
def report(audit_yaml: Path, language: str, level: Literal["brief", "standard", "full"]) -> None:
    """Render report.html and PDFs of an assessment."""
    click.echo(workflow.report(audit_yaml, language=language, level=level, progress=Console()))


@click.command()
@audit_file
@issuer_options
@certificate_option
@languages_option
def pack(
    audit_yaml: Path, key: str | None, name: str | None, passphrase_file: Path | None,
    certificate: Path | None, languages: tuple[str, ...],
) -> None:  # fmt: skip
    """Build the signed pack."""
    source = _issuer(audit_yaml, key, name, certificate, passphrase_file)
    click.echo(workflow.pack(audit_yaml, key=source, languages=languages, progress=Console()))
