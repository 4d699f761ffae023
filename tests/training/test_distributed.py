"""Two processes train as one does: the same losses, the same weights, one set of files."""

import json
import logging
import multiprocessing
import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import autoseg.training.fold as fold_module
import autoseg.training.throughput as throughput_module
from autoseg.base.errors import UserError
from autoseg.base.ranks import Ranks, agreed, average, gathered, join, ranks, share_of, total
from autoseg.base.runtime import Runtime
from autoseg.batches.batch import Batch
from autoseg.clinical.encoded import ConditionBatch
from autoseg.datasets.dataset import Dataset
from autoseg.nn.losses import LOSSES
from autoseg.nn.losses.deep import build_loss
from autoseg.preprocessing.run import preprocess_dataset
from autoseg.training.distributed import check_shareable, joined
from autoseg.training.run import run_fold
from autoseg.workspace.checkpoint import load_weights
from autoseg.workspace.files import read_records, write_json
from autoseg.workspace.folders import FoldFolder
from autoseg.workspace.names import Workspace
from planners.schema.base import Frozen, Part
from planners.schema.labels import LabelSpec
from planners.schema.plan import Schedule
from tests_support import SPHERES, small_plan, write_spheres

ROOT = Path(__file__).parents[2]
DATASET, NAME = "Dataset001_Spheres", "3d_fullres"
FLOAT32 = Runtime(torch.device("cpu"), torch.float32)  # half precision rounds each process's part of a batch by itself
SCHEDULE = Schedule(iterations=8, iterations_per_epoch=1, learning_rate=1e-3, decay="cosine", ema=0.9,
                    optimizer=Part(name="sgd"))


def prepared(home: Path, **changes) -> Workspace:
    write_spheres(home / "raw" / DATASET, n_cases=5)
    workspace, plan = Workspace(home), small_plan(schedule=SCHEDULE, **changes)
    write_json(workspace.plan(DATASET, "budgeted"), plan)
    raw = workspace.raw(DATASET)
    preprocess_dataset(Dataset.open(raw), plan, NAME, workspace.cases(DATASET, "budgeted", NAME)).raise_faults()
    return workspace


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def together(n: int, work: Callable[[], None], log: Path) -> list[int]:
    """Do `work` in n processes that have joined as torchrun's do; their exit statuses. What they say goes to `log`."""
    port, context = free_port(), multiprocessing.get_context("fork")  # forked, so that nothing is imported anew

    def member(rank: int) -> None:
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(n), LOCAL_WORLD_SIZE=str(n),
                          MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
        torch.set_num_threads(1)
        logging.basicConfig(filename=log, level=logging.INFO, force=True)
        logging.getLogger("autoseg").handlers.clear()
        logging.getLogger("autoseg").propagate = True
        logging.getLogger("autoseg").setLevel(logging.INFO)
        try:
            with joined("cpu"):
                work()
        except BaseException:
            logging.getLogger().error(traceback.format_exc())
            os._exit(1)
        os._exit(0)

    processes = [context.Process(target=member, args=(rank,)) for rank in range(n)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(100)
        process.kill()
    return [process.exitcode for process in processes]


def train(workspace: Workspace, processes: int, stopped_after: int = 1000) -> str:
    """Train and validate fold 0; what the processes said."""
    step, done, log = fold_module.train_step, [], workspace.home / "said.txt"

    def stopping(*arguments):
        if len(done) == stopped_after:
            raise RuntimeError("power failure")
        done.append(1)
        return step(*arguments)

    def work() -> None:
        fold_module.train_step = stopping
        throughput_module._SECONDS, throughput_module._STEPS = 0.0, (1, 1)
        run_fold(workspace, small_plan(schedule=SCHEDULE), NAME, 0, FLOAT32)

    statuses = together(processes, work, log)
    said = log.read_text()
    assert statuses == [int(stopped_after < 8)] * processes, said
    return said


def folder(workspace: Workspace) -> FoldFolder:
    return workspace.fold(DATASET, "budgeted", NAME, 0)


def losses(workspace: Workspace) -> list[float]:
    return [record["train_loss"] for record in read_records(folder(workspace).metrics)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Workspace:
    workspace = prepared(tmp_path_factory.mktemp("alone"))
    train(workspace, 1)
    return workspace


def assert_same_training(one: Workspace, other: Workspace) -> None:
    assert len(losses(one)) == 8
    assert losses(other) == pytest.approx(losses(one), rel=1e-4)
    mine, theirs = (load_weights(folder(workspace).checkpoint)[0] for workspace in (one, other))
    for name in mine:
        torch.testing.assert_close(theirs[name], mine[name], rtol=1e-3, atol=1e-5)


def test_two_processes_have_the_loss_curve_and_the_weights_of_one(alone, tmp_path):
    shared = prepared(tmp_path)
    said = train(shared, 2)
    assert_same_training(alone, shared)
    assert said.count("8 iterations") == 1 and said.count("2 processes train together") == 1
    dice = [[record["validation_dice"] for record in read_records(folder(w).metrics)] for w in (alone, shared)]
    assert dice[1] == pytest.approx(dice[0], abs=1e-3)
    one, two = (json.loads(folder(workspace).result.read_text()) for workspace in (alone, shared))
    assert [case["name"] for case in two["scores"]["cases"]] == [case["name"] for case in one["scores"]["cases"]]
    assert two["mean_dice"] == pytest.approx(one["mean_dice"], abs=5e-3)


def test_two_processes_that_were_stopped_go_on_as_if_nothing_had_happened(alone, tmp_path):
    shared = prepared(tmp_path)
    assert "power failure" in train(shared, 2, stopped_after=5)
    assert len(losses(shared)) == 5
    train(shared, 2)
    assert_same_training(alone, shared)


def in_two(work: Callable[[], None], tmp_path: Path) -> None:
    log = tmp_path / "said.txt"
    assert together(2, work, log) == [0, 0], log.read_text()


def test_sums_decisions_and_shares_of_two_processes(tmp_path):
    def work() -> None:
        rank = ranks().rank
        assert agreed(10 + rank) == 10
        assert gathered([rank, rank]) == [0, 0, 1, 1]
        assert share_of("abcde") == (["a", "c", "e"] if rank == 0 else ["b", "d"])
        value = torch.tensor(3.0 + rank, requires_grad=True)
        both = total(value) ** 2  # (3 + 4)^2, whose derivative by either is 2 * 7
        both.backward()
        assert both.item() == 49 and value.grad.item() == 14
        assert average(torch.tensor(3.0 + rank)).item() == 3.5

    in_two(work, tmp_path)


@pytest.mark.parametrize("batch_dice", [True, False])
@pytest.mark.parametrize("partial", [True, False])
def test_the_loss_of_two_halves_is_that_of_the_batch_and_so_is_its_gradient(tmp_path, batch_dice, partial):
    generator = torch.Generator().manual_seed(0)
    labels = LabelSpec(names=SPHERES.names, ignore=3) if partial else SPHERES
    logits = torch.randn(4, 3, 6, 6, generator=generator)
    label = torch.randint(0, 4 if partial else 3, (4, 6, 6), generator=generator)
    annotated = torch.tensor([[True, True], [True, False], [False, False], [False, True]]) if partial else None
    loss = build_loss(labels, small_plan(batch_dice=batch_dice).configurations[NAME], "cpu")

    def of(part: slice) -> tuple[torch.Tensor, torch.Tensor]:
        mine = logits[part].clone().requires_grad_()
        value = loss([mine], label[part], None if annotated is None else annotated[part])
        value.backward()
        return value.detach(), mine.grad

    value, gradient = of(slice(None))

    def work() -> None:
        part = slice(2 * ranks().rank, 2 * ranks().rank + 2)
        torch.testing.assert_close(of(part), (value, gradient[part]))

    in_two(work, tmp_path)


@pytest.mark.slow
def test_torchrun_trains_from_the_command_line(tmp_path):
    workspace = prepared(tmp_path)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_addr",
                           "127.0.0.1", "--master_port", free_port(), "-m", "autoseg.cli.train", "1", NAME, "0", "--home",
                           str(workspace.home), "--device", "cpu"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("8 iterations") == 1 and folder(workspace).result.is_file()


def test_a_batch_that_cannot_be_shared_evenly_is_refused():
    with join(Ranks(0, 3, 3)), pytest.raises(UserError, match=r"3 processes cannot share.*--set batch=3"):
        check_shareable(small_plan().configurations[NAME], "here")


def test_a_loss_that_does_not_sum_over_processes_is_refused():
    class Own:
        def __init__(self, *_, **__):
            pass

    class OwnOptions(Frozen):
        pass

    LOSSES.register("own_of_this_test", OwnOptions)(Own)
    plan = small_plan(loss=Part(name="own_of_this_test"))
    with join(Ranks(1, 2, 2)), pytest.raises(UserError, match="loss 'own_of_this_test' can only be computed by one process"):
        check_shareable(plan.configurations[NAME], "here")


def test_an_incomplete_environment_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(UserError, match=r"RANK.*torchrun"), joined("cpu"):
        pass


def test_one_process_is_not_several(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    with joined("cpu") as device:
        assert device == "cpu"


def test_parts_of_a_batch_are_its_samples_in_order():
    batch = Batch(torch.arange(4.0).view(4, 1, 1, 1), torch.arange(4).view(4, 1, 1), torch.ones(4, 1, dtype=torch.bool),
                  conditions=ConditionBatch(torch.arange(8).view(4, 2), torch.ones(4, 2, dtype=torch.bool)))
    first, second = batch.part(0, 2), batch.part(1, 2)
    assert first.label_BDHW.flatten().tolist() == [0, 1] and second.label_BDHW.flatten().tolist() == [2, 3]
    assert second.conditions.values_BK.tolist() == [[4, 5], [6, 7]] and second.annotated_BK is None
