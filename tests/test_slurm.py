"""The script of docs/slurm.md, with SLURM's programs and environment imitated."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[1] / "docs" / "slurm.md"
JOB = {"SLURM_JOB_ID": "42", "SLURM_JOB_NAME": "deepfake-lit", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}
JOB |= {"SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_JOB_NODELIST": "localhost"}


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.mark.slow
def test_a_job_that_is_out_of_time_is_put_back_into_the_queue_and_goes_on(samples, tmp_path):
    script = re.search(r"```bash\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)[1]
    small = f"data.root={samples} output_dir={tmp_path}/out model.width=0.125 trainer.max_epochs=400"
    script, count = re.subn(r"experiment=residual_cnn data\.root=PATH", f"{small} trainer.accelerator=cpu", script)
    assert count == 1
    (tmp_path / "train.sh").write_text(script)
    program(tmp_path / "bin", "srun", f'echo $$ > {tmp_path}/pid\nexec "$@"')
    program(tmp_path / "bin", "scontrol", f'echo "$@" >> {tmp_path}/requeued')
    program(tmp_path / "bin", "deepfake-lit", f'exec {sys.executable} -m deepfake_lit "$@"')
    environment = os.environ | JOB | {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}

    def job(until: str) -> tuple[int, str]:
        log = tmp_path / "log"
        with open(log, "w") as file:
            process = subprocess.Popen(["bash", tmp_path / "train.sh"], stderr=file, stdout=file, env=environment)
        while until not in log.read_text():
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGUSR1)
        return process.wait(timeout=300), log.read_text()

    status, log = job("epoch 2/400")
    assert status == 75, log
    assert "the same command goes on from there" in log
    assert "requeue" not in log
    assert (tmp_path / "requeued").read_text() == "requeue 42\n"
    status, log = job("goes on from")  # the signal may come before the training has begun
    assert status in (75, 138), log
    assert "epoch 1/400" not in log
    assert (tmp_path / "requeued").read_text() == "requeue 42\n" * 2
