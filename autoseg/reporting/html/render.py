"""Render the data of a report as one HTML file that needs no network."""

from datetime import datetime, timezone
from pathlib import Path

from autoseg.base.errors import UserError
from autoseg.base.version import __version__
from autoseg.reporting.html.blocks import Section
from autoseg.reporting.html.cases import case_pictures
from autoseg.reporting.html.gather import ReportData, gather
from autoseg.reporting.html.sections_data import dataset_section, plan_section
from autoseg.reporting.html.sections_explanations import explanations_section
from autoseg.reporting.html.sections_external import external_section
from autoseg.reporting.html.sections_fusion import fusion_section
from autoseg.reporting.html.sections_inputs import inputs_section
from autoseg.reporting.html.sections_outcome import outcomes_section
from autoseg.reporting.html.sections_provenance import provenance_section
from autoseg.reporting.html.sections_race import race_section
from autoseg.reporting.html.sections_scores import cases_section, failures_section, scores_section
from autoseg.reporting.html.sections_selection import headline, quality_control_section, selection_section
from autoseg.reporting.html.sections_training import training_section
from autoseg.reporting.html.sections_transfer import transfer_section
from autoseg.workspace.files import write_text
from autoseg.workspace.names import Workspace


def write_report(workspace: Workspace, dataset: str, path: Path) -> Path:
    """Write the report of a dataset; the report says what is missing. Raises UserError where jinja2 is not installed."""
    _jinja()
    write_text(path, render(gather(workspace, dataset)))
    return path


def sections_of(data: ReportData) -> tuple[Section, ...]:
    """All sections, in the order of the page; without those that have nothing to say of the dataset."""
    sections = (scores_section(data), external_section(data), transfer_section(data), selection_section(data),
                race_section(data), fusion_section(data), cases_section(data, case_pictures(data)), failures_section(data),
                quality_control_section(data), inputs_section(data), explanations_section(data), outcomes_section(data),
                training_section(data), dataset_section(data), plan_section(data), provenance_section(data))
    return tuple(section for section in sections if section is not None)


def render(data: ReportData) -> str:
    """The report as HTML. Every text is escaped: users choose the names of cases, labels and columns."""
    jinja2 = _jinja()
    environment = jinja2.Environment(loader=jinja2.PackageLoader("autoseg.reporting.html", "templates"), autoescape=True,
                                     trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    style = environment.loader.get_source(environment, "report.css")[0]
    return environment.get_template("report.html.j2").render(
        dataset=data.dataset, name=data.manifest.name if data.manifest is not None else "", headline=headline(data),
        sections=sections_of(data), style=style, version=__version__,
        written=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"))


def _jinja():
    try:
        import jinja2
    except ImportError:
        raise UserError("the report needs the package jinja2, which is not installed",
                        do="pip install 'autoseg-pipeline[report]'") from None
    return jinja2
