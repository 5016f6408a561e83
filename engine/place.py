"""Where a run happens, and never what it computes: device, folders, processes, cadence."""

import os
from dataclasses import dataclass

from engine.fields import made_plain, option


@dataclass(frozen=True)
class Place:
    """The host's side of a run. Nothing of it enters a program, and a resumed run may change it."""

    fsdp: bool = option(
        False, "split parameters and optimizer state over the devices, for models that outgrow one"
    )
    device: str = option("auto", "where to run", ("auto", "cpu", "gpu", "tpu"))
    data_dir: str = option("", "tensorflow-datasets' folder (default: $TFDS_DATA_DIR)")
    stream: bool = option(
        False, "read the examples in chunks while training; so is a set that doesn't fit"
    )
    workers: int = option(
        -1, "processes that read ahead; 0 reads in the run's own, -1 takes the cores but one",
        least=-1,
    )
    command_buffers: str = option(
        "kernels", "what a GPU is given at once, as a CUDA graph: kernels in a row, as XLA has it, "
        "loops, which are whole segments of steps, or none", ("none", "kernels", "loops"),
    )
    compile_cache: bool = option(
        True, "keep compiled programs on disk, so that the next start is quick"
    )
    run_dir: str = option("", "the run's folder (default: runs/<dataset>-<model>-<n>)")
    report: bool = option(True, "draw the plots and write the page of what came of it")
    log: str = option("", "where each epoch's row goes besides, by commas")
    save_seconds: int = option(600, "save within an epoch too, after so many seconds", least=1)
    stuck_seconds: int = option(
        0, "give up on a segment that takes longer; 0 is 600 among several processes, else never"
    )
    coordinator: str = option("", "HOST:PORT of process 0, in a run of many processes")
    num_processes: int = option(0, "how many processes; 0 asks Slurm, Open MPI, Kubernetes")
    process_id: int = option(-1, "which of them this one is, from 0", least=-1)
    join_seconds: int = option(300, "how long to wait for the other processes", least=1)
    heartbeat_seconds: int = option(
        30, "how long a process may be silent before the others stop", least=1
    )

    def __post_init__(self) -> None:
        made_plain(self)
        if isinstance(self.run_dir, str):
            object.__setattr__(self, "run_dir", os.path.expanduser(self.run_dir))


ADDRESS = ("coordinator", "num_processes", "process_id")  # of a process, and no part of a run
