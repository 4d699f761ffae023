"""Folds that started from another model: what they took over, and how they compare with their twins from scratch."""

from autoseg.evaluation.comparison import PairedComparison, Row
from autoseg.reporting.html.blocks import Absent, Block, Bullets, Section, Table, Text, table
from autoseg.reporting.html.gather import Fold, Model, ReportData
from autoseg.reporting.twins import FROM_SCRATCH, TRANSFERRED, compared
from autoseg.training.transfer import TransferReport

_METRIC = "dice"
_VERDICTS = {"better": f"{TRANSFERRED} is better", "worse": f"{FROM_SCRATCH} is better", "same": "equally good",
             "unclear": "no difference was seen, and none is excluded", "few": "too few cases to say"}


def transfer_section(data: ReportData) -> Section | None:
    """What was taken over and what it brought; None where every fold started from scratch."""
    transferred = [(model, fold, fold.transfer) for model in data.models for fold in model.folds
                   if fold.transfer is not None]
    if not transferred:
        return None
    blocks: list[Block] = [_taken([(f"{model.title} fold {fold.name}", report) for model, fold, report in transferred])]
    remarks = [f"{model.title} fold {fold.name}: {remark}" for model, fold, report in transferred
               for remark in _remarks(report)]
    blocks += [Bullets(tuple(remarks))] if remarks else []
    for model, fold, _ in transferred:
        blocks += _twin(data, model, fold)
    return Section("transfer", "Started from another model", tuple(blocks))


def _taken(reports: list[tuple[str, TransferReport]]) -> Table:
    rows = []
    for title, report in reports:
        origin = f"{report.dataset} {report.configuration} ({report.planner})" + (
            ", pre-training" if report.is_pretraining else "")
        labels = ", ".join(report.labels) or "none"
        rows.append((title, origin, report.digest[:12], f"{report.encoder_share:.1%}", labels, report.freeze))
    return table("What each training took over; details are in transfer.json of the fold.",
                 ("Fold", "From", "Digest of the weights", "Encoder", "Labels", "Frozen"), rows, texts=(1, 2, 4, 5))


def _remarks(report: TransferReport) -> list[str]:
    seen = ([f"the source was trained on {len(report.seen)} of the validation cases: the score is too good"] if report.seen
            else [])
    return [*seen, *report.remarks]


def _twin(data: ReportData, model: Model, fold: Fold) -> list[Block]:
    """The fold beside its twin."""
    title = f"{model.title} fold {fold.name}"
    if fold.twin is None or fold.result is None:
        return [Absent(f"{title} has no twin that was trained from scratch with the same time, so what the other model "
                       "brought is not known.",
                       f"autoseg_train {data.number} {model.configuration} {fold.name} -p {model.planner} --twin")]
    comparison = compared(fold.result, fold.twin)
    if comparison is None:
        return [Text(f"{title}: nothing was validated, so there is nothing to compare.")]
    times = (f"{fold.result.schedule.iterations} iterations in {fold.result.training_seconds / 60:.1f} min against "
             f"{fold.twin.schedule.iterations} in {fold.twin.training_seconds / 60:.1f} min from scratch")
    return [_compared(title, times, comparison)]


def _compared(title: str, times: str, comparison: PairedComparison) -> Table:
    rows = [_row(row) for row in comparison.rows if row.metric == _METRIC]
    return table(f"{title}: Dice of {comparison.n_cases} validation cases, {times}. The difference is paired by case.",
                 ("Label", TRANSFERRED.capitalize(), FROM_SCRATCH.capitalize(), "Difference", "95 % interval", "Verdict"),
                 rows, texts=(5,))


def _row(row: Row) -> tuple[str, ...]:
    known = row.difference
    interval = "-" if known.low is None or known.high is None else f"{known.low:+.3f} to {known.high:+.3f}"
    return (row.label, _number(known.mean_a), _number(known.mean_b), _number(known.difference, "+"), interval,
            _VERDICTS[row.verdict])


def _number(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.3f}"
