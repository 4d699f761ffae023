"""Batches that processes on CPU cores load and augment, as nnU-Net's do."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from autoseg.batches.loader import make_batches
from autoseg.batches.store import store_cases
from gpu_parts.plans import Setting

_CASES = 64  # are sent to each worker


@dataclass
class _Batches(IterableDataset):
    setting: Setting

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        worker = get_worker_info()
        store = store_cases(self.setting.training, "cpu", 2**62)
        seed = 0 if worker is None else worker.id
        for batch in make_batches(store, self.setting.configuration, self.setting.plan.labels, seed, "cpu"):
            yield batch.image_BCDHW.contiguous(), batch.label_BDHW


def worker_batches(setting: Setting, n_workers: int, *, pinned: bool) -> DataLoader:
    """Images and labels without end; with no worker this process makes them."""
    cases = tuple(replace(case, image_CDHW=np.asarray(case.image_CDHW[:]), label_DHW=np.asarray(case.label_DHW[:]))
                  for case in setting.training[:_CASES])
    options = {"multiprocessing_context": "spawn", "prefetch_factor": 2} if n_workers else {}
    dataset = _Batches(replace(setting, training=cases))
    return DataLoader(dataset, batch_size=None, num_workers=n_workers, pin_memory=pinned, **options)
