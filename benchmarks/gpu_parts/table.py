"""What was measured, said as it happens and printed as one table at the end."""

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

NOT_MEASURED = "not measured"


@dataclass
class Table:
    """Rows (what, result, target or remark); a part that fails becomes a row, and the next one goes on."""

    device: torch.device
    seconds: float  # after which no further part begins
    started: float = field(default_factory=time.monotonic)
    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, what: str, result: str, remark: str = "") -> None:
        self.rows.append((what, result, remark))
        print(f"[{time.monotonic() - self.started:5.0f} s] {what}: {result}" + (f"  ({remark})" if remark else ""),
              flush=True)

    def part(self, name: str, run: Callable[[], None]) -> None:
        """Run a part; whatever it raises is its row."""
        if time.monotonic() - self.started > self.seconds:
            self.add(name, NOT_MEASURED, "no time was left")
            return
        try:
            run()
        except Exception as error:  # a benchmark's other parts are worth having
            text = str(error).splitlines()[0][:160] if str(error) else ""
            self.add(name, f"failed: {type(error).__name__}", text)
        finally:
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def markdown(self) -> str:
        lines = [f"{self._machine()}, {time.monotonic() - self.started:.0f} s in all", "",
                 "| what | measured | target or remark |", "|---|---|---|"]
        lines += [f"| {what} | {result} | {remark} |" for what, result, remark in self.rows]
        return "\n".join(line.replace("\n", " ") for line in lines)

    def _machine(self) -> str:
        versions = f"Python {platform.python_version()}, torch {torch.__version__}, NumPy {np.__version__}"
        if self.device.type != "cuda":
            return f"CPU ({torch.get_num_threads()} threads), {versions}"
        return (f"{torch.cuda.get_device_name(self.device)}, CUDA {torch.version.cuda}, "
                f"cuDNN {torch.backends.cudnn.version()}, {versions}")


def ratio(value: float, other: float) -> str:
    return f"{value / other:.2f}x"
