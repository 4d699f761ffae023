"""`autoseg_dicom convert`: make a raw dataset of many patients' DICOM. The command `autoseg_dicom` mounts it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from autoseg.cli import common

if TYPE_CHECKING:
    from autoseg.interop.dicom_dataset.build import Converted
    from autoseg.interop.dicom_dataset.structures import StructureTable
    from autoseg.interop.dicom_dataset.studies import FoundStudies

DESCRIPTION = """Make a raw dataset of the DICOM of many patients: a NIfTI image per channel, labels of RTSTRUCT and SEG, a
table of what the headers say, and dataset.json; checked as by autoseg_verify. Names, numbers and dates of patients are left
out. The same command goes on where it was stopped, and adds new studies."""
EXAMPLE = "example: autoseg_dicom convert scans -d 12 --name Sarcoma --channel CT --channel PET --structure 'GTV*=tumour'"
_WIDTH = 48  # of the names in a list of structures


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The arguments of the sub-command, beside those that every command has."""
    command.add_argument("source", type=Path, metavar="SRC", help="folder of DICOM files, of any depth and order")
    command.add_argument("-d", "--dataset", type=common.positive, required=True, metavar="N", help="number of the dataset")
    command.add_argument("--name", required=True, metavar="NAME", help="name of the dataset")
    _add_channels(command)
    _add_structures(command)
    command.add_argument("--one-case-per-patient", action="store_true",
                         help="take the channels of a case from all studies of a patient (default: one case per study)")
    command.add_argument("--keep-identifiers", action="store_true",
                         help="name cases by patient number and date, and write numbers, UIDs, dates and hospitals to the "
                              "table (default: pseudonyms, and days between a patient's studies)")
    command.add_argument("--identities", type=Path, metavar="FILE",
                         help="write a table (CSV) of who each case is, to be kept apart from the dataset (default: none)")
    command.add_argument("--key", type=Path, metavar="FILE",
                         help="secret by which pseudonyms are made, a file that is there; with that of another workspace "
                              "patients get the same names (default: pseudonyms.key of the workspace, made on first use)")
    common.add_workers(command)


def _add_channels(command: argparse.ArgumentParser) -> None:
    command.add_argument("--channel", action="append", default=[], metavar="NAME[=RULE]",
                         help="a channel, in the order of their numbers: a name that the rules for series know, such as CT, "
                              "PET or T1, or with a rule of its own: CT_venous='modality=CT description~venous "
                              "not~delayed'; may be repeated")
    common.add_series(command)
    command.add_argument("--optional", action="append", default=[], metavar="NAME",
                         help="a channel that a study may lack; may be repeated")
    command.add_argument("--reference", metavar="NAME",
                         help="the channel that labels lie on (default: the first that is not optional)")


def _add_structures(command: argparse.ArgumentParser) -> None:
    command.add_argument("--structure", action="append", default=[], metavar="STRUCTURE=LABEL",
                         help="a structure that becomes a label, in the order of label values; case, blanks and underscores "
                              "do not matter, * stands for any text; several structures of one label are joined; may be "
                              "repeated (with no structure, the command lists all of them and ends)")
    command.add_argument("--structures", type=Path, metavar="FILE",
                         help="the same as a table with the columns structure and label (CSV, XLSX), or as JSON")
    command.add_argument("--no-labels", action="store_true", help="convert images alone, for pre-training")
    command.add_argument("--priority", metavar="LABELS",
                         help="labels apart by commas: where two overlap, the earlier one is kept")
    command.add_argument("--regions", metavar="LABELS",
                         help="labels apart by commas, each within the one before it (CTV,GTV): written as regions")
    command.add_argument("--newest-structures", action="store_true",
                         help="where several files of a study hold a label, take the one that was made last")


def run(options: argparse.Namespace) -> int:
    """Convert; the exit status is 2 where a study was left out or a check failed."""
    from autoseg import pipeline
    from autoseg.base.errors import UserError
    from autoseg.cli.findings_table import checked
    from autoseg.interop.dicom_dataset.build import Settings, convert_studies
    from autoseg.interop.dicom_dataset.channels import channels_of
    from autoseg.interop.dicom_dataset.pseudonyms import Pseudonyms
    from autoseg.interop.dicom_dataset.studies import find_studies
    from autoseg.interop.dicom_dataset.table import write_identities
    from autoseg.workspace.names import Workspace
    from autoseg.workspace.secret import pseudonym_key, read_key

    table = _table(options)
    source = options.source.expanduser().absolute()
    channels = channels_of(options.channel, rules=options.dicom_rules, optional=options.optional,
                           reference=options.reference or "", series=options.series)
    workers = common.start_workers(options)
    source_studies = find_studies(source, channels, join_patients=options.one_case_per_patient)
    if table is None and not options.no_labels and _list_structures(source_studies):
        raise UserError("nobody said which structures are labels", where=source,
                        do="choose some of them: --structure 'GTV=tumour', or --structures FILE; or say --no-labels")
    workspace = Workspace.open(options.home)
    if options.identities is not None and options.identities.absolute().is_relative_to(workspace.home / "raw"):
        raise UserError("the table of who each case is must not lie with the data", where=options.identities,
                        do="name a file outside of the raw datasets")
    key = pseudonym_key(workspace.pseudonym_key) if options.key is None else read_key(options.key)
    settings = Settings(options.dataset, options.name, channels, table, options.newest_structures, options.keep_identifiers)
    converted = convert_studies(source_studies.studies, source, workspace, settings, Pseudonyms(key),
                                workers=workers)
    _print(converted, source_studies)
    if options.identities is not None:
        write_identities(options.identities, converted.studies)
    faults = list(converted.faults)
    if not converted.images_alone:
        report = pipeline.verify(converted.dataset, home=options.home, workers=options.workers)
        faults += report.faults
        print(checked(len(report.faults), len(report.warnings), options.dataset))
    next_command = "autoseg_pretrain" if converted.images_alone else "autoseg_plan_and_preprocess"
    print(f"next:\n  {next_command} -d {options.dataset}{f' --home {options.home}' if options.home else ''}", flush=True)
    return common.list_faults(faults)


def _table(options: argparse.Namespace) -> "StructureTable | None":
    from autoseg.base.errors import UserError
    from autoseg.interop.dicom_dataset.structures import parse_structures, read_structures, with_overlaps

    sources = [bool(options.structure), options.structures is not None, options.no_labels]
    if sum(sources) > 1:
        raise UserError("only one of --structure, --structures and --no-labels can say what the labels are")
    if options.structures is not None:
        table = read_structures(options.structures)
    elif options.structure:
        table = parse_structures(options.structure)
    else:
        return None
    return with_overlaps(table, options.priority, options.regions)


def _list_structures(studies: "FoundStudies") -> bool:
    """Print the structures of all studies; whether there are any."""
    from autoseg.interop.dicom_dataset.structures import counted

    names = {study.uid: [name for header in study.structures for name in header.names] for study in studies.studies}
    rows = counted(names)
    if rows:
        width = min(_WIDTH, max(len(name) for name, _ in rows))
        print(f"structures of {len(names)} studies:")
        print("\n".join(f"  {name:{width}}  {count} stud{'y' if count == 1 else 'ies'}" for name, count in rows), flush=True)
    return bool(rows)


def _print(converted: "Converted", studies: "FoundStudies") -> None:
    kept = f", {converted.kept} of them there already" if converted.kept else ""
    cases = f"{converted.n_cases} case{'s' * (converted.n_cases != 1)}"
    print(f"{cases}{' without labels' * converted.images_alone}{kept}: {converted.folder}", flush=True)
    for warning in (*studies.warnings, *converted.warnings):
        print(f"warning: {warning}")
