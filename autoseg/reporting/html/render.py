"""From what was gathered to the text of one HTML file, without the network."""

from datetime import datetime, timezone
from pathlib import Path

from autoseg.base.errors import UserError
from autoseg.base.version import __version__
from autoseg.reporting.html.blocks import Section
from autoseg.reporting.html.cases import case_pictures
from autoseg.reporting.html.gather import Gathered, gather
from autoseg.reporting.html.sections_data import dataset_section, plan_section
from autoseg.reporting.html.sections_inputs import inputs_section
from autoseg.reporting.html.sections_provenance import provenance_section
from autoseg.reporting.html.sections_scores import cases_section, failures_section, scores_section
from autoseg.reporting.html.sections_selection import headline, quality_control_section, selection_section
from autoseg.reporting.html.sections_training import training_section
from autoseg.workspace.files import write_text
from autoseg.workspace.names import Workspace


def write_report(workspace: Workspace, dataset: str, path: Path) -> Path:
    """Write the report of a dataset; whatever is missing is said in it. Raises UserError where jinja2 is missing."""
    _jinja()
    write_text(path, render(gather(workspace, dataset)))
    return path


def sections_of(of: Gathered) -> tuple[Section, ...]:
    """Every section, in the order in which it is read."""
    return (scores_section(of), selection_section(of), cases_section(of, case_pictures(of)), failures_section(of),
            quality_control_section(of), inputs_section(of), training_section(of), dataset_section(of), plan_section(of),
            provenance_section(of))


def render(of: Gathered) -> str:
    """The report as HTML. Every text is escaped: names of cases, labels and columns are the user's."""
    jinja2 = _jinja()
    environment = jinja2.Environment(loader=jinja2.PackageLoader("autoseg.reporting.html", "templates"), autoescape=True,
                                     trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    style = environment.loader.get_source(environment, "report.css")[0]
    return environment.get_template("report.html.j2").render(
        dataset=of.dataset, name=of.manifest.name if of.manifest is not None else "", headline=headline(of),
        sections=sections_of(of), style=style, version=__version__,
        written=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"))


def _jinja():
    try:
        import jinja2
    except ImportError:
        raise UserError("the report needs the package jinja2, which is not installed",
                        do="pip install 'autoseg-pipeline[report]'") from None
    return jinja2
