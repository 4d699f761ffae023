"""The model on other datasets."""

from autoseg.interop.external import ExternalValidation, remarks_of, rows_of
from autoseg.reporting.html.blocks import Block, Bullets, Heading, Section, Text, table
from autoseg.reporting.html.gather import ReportData


def external_section(data: ReportData) -> Section | None:
    """Each dataset that a model was judged on; None where there is none."""
    if not data.external:
        return None
    blocks = tuple(block for result in data.external for block in _blocks(result))
    return Section("external", "On other datasets", blocks)


def _blocks(result: ExternalValidation) -> list[Block]:
    channels = ", ".join(f"{ours} from {theirs}" if theirs else f"{ours} missing"
                         for ours, theirs in result.channels.items())
    blocks: list[Block] = [
        Heading(result.on),
        table(f"{result.external.n_cases} cases of {result.on}, predicted by {result.model}. Internal: {result.internal_of}."
              " The differences are of means over different cases, with 95 % bootstrap intervals.",
              ("Label and metric", "External", "Internal", "Difference", "In words"), rows_of(result), texts=(4,)),
        Text(f"Channels: {channels}.", quiet=True)]
    remarks = tuple(remarks_of(result))
    return [*blocks, *([Bullets(remarks)] if remarks else [])]
