"""The command line as it is typed: where runs happen, what they leave behind, and how they end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from command_line import LAUNCH, facts, finish, run, runs, start, status, wait_for

pytestmark = pytest.mark.slow  # Every test starts processes.


def wait_for_run(ready: tuple[str, ...] = ("ready0",)) -> Path:
    end = time.monotonic() + 60
    while not (found := [r for r in runs() if all((r / name).exists() for name in ready)]):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found[0]


# --- one process


def test_a_run_leaves_what_ran_and_how_it_ended(conf: Path) -> None:
    code, out, err = run("value=2.5", "+service.host=x")
    assert (code, out, err) == (0, "toy toy on rank 0\n", "")
    (run_dir,) = runs()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-[0-9a-f]{8}", run_dir.name)
    assert status(run_dir) == {"state": "completed", "step": None, "metric": 2.5, "reason": None, "rank": None}
    ran = yaml.safe_load((run_dir / "config.yaml").read_text())
    assert (ran["value"], ran["service"], ran["_target_"]) == (2.5, {"host": "x"}, "toy_verbs.toy")
    assert "<dt>state</dt><dd>completed</dd>" in (run_dir / "report.html").read_text()
    environment = json.loads((run_dir / "environment.json").read_text())
    assert environment["argv"][-3:] == ["toy", "value=2.5", "+service.host=x"]
    assert environment["versions"]["torch"]
    assert yaml.safe_load((run_dir / ".hydra" / "overrides.yaml").read_text()) == ["value=2.5", "+service.host=x"]


def test_runs_of_the_same_second_do_not_share_a_directory(conf: Path) -> None:
    for process in [start(), start(), start()]:
        assert finish(process)[0] == 0
    assert len(runs()) == 3
    assert len({facts(run_dir)["pid"] for run_dir in runs()}) == 3


def test_no_secret_is_written_anywhere_but_the_verb_has_it(conf: Path) -> None:
    assert run("+service.api_key=s3cr3t-value")[0] == 0
    assert run("-m", "+service.api_key=s3cr3t-value", "value=1")[0] == 0
    for run_dir in [*runs("2*"), *runs("sweep-*/0-*")]:
        assert facts(run_dir)["key"] == "s3cr3t-value"
        assert facts(run_dir)["config_key"] == "***"
        (run_dir / "facts0.json").unlink()
    leaks = [f for f in Path("runs").rglob("*") if f.is_file() and "s3cr3t" in f.read_text()]
    assert leaks == []


ODD = 'x"y\\SECRET-value'


def test_no_secret_is_left_by_jobs_that_are_refused_nor_in_other_values(conf: Path) -> None:
    quoted = ODD.replace('"', '\\"')
    words = (f'+service={{api_key: "{quoted}", url: "u:{quoted}@h"}}',)
    assert run(*words)[0] == 0
    code, out, err = run("-m", *words, "value=1,soon", "rank=one")
    assert code == 2
    assert "SECRET" not in out + err
    assert len(runs("sweep-*/*-*")) == 2
    assert (runs("sweep-*")[0] / "multirun.yaml").is_file()
    assert facts(runs("2*")[0])["key"] == ODD
    (runs("2*")[0] / "facts0.json").unlink()
    leaks = [file for file in Path("runs").rglob("*") if file.is_file() and "SECRET" in file.read_text()]
    assert leaks == []


def test_a_second_start_in_a_directory_leaves_no_trace(conf: Path) -> None:
    first = start("action=wait", "value=1", "hydra.run.dir=runs/toy/one")
    run_dir = wait_for_run()
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    for words in (("value=2",), ("value=2", "engine=many"), ("valeu=2",)):
        code, _, err = run(*words, "hydra.run.dir=runs/toy/one")
        assert code in (1, 2)
        assert "valeu" in err or re.search(rf"process {first.pid} on \S+, since [\dT:+-]+, trains in it; wait", err), (
            err
        )
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before
    first.send_signal(signal.SIGTERM)
    assert finish(first)[0] == 85
    assert yaml.safe_load((run_dir / "config.yaml").read_text())["value"] == 1


def test_of_two_identical_sweeps_the_second_is_refused(conf: Path) -> None:
    words = ("-m", "value=1,2", "hydra.sweep.dir=runs/toy/sweep")
    first = start(*words, "action=wait_once")
    wait_for(*[Path("runs/toy/sweep/.lock.owner")])
    code, _, err = run(*words)
    assert code == 1
    assert re.search(rf"hydra.sweep.dir=\S+: process {first.pid} on \S+, since \S+, runs a sweep in it; wait", err), err
    first.send_signal(signal.SIGTERM)
    finish(first)


def test_faults_are_one_message_and_leave_no_directory(conf: Path) -> None:
    code, out, err = run("valeu=2", "+foo=1", "rank=one")
    assert (code, out) == (2, "")
    assert err == (
        "3 faults in the configuration:\n"
        "  valeu: not a parameter of toy; did you mean 'value'?\n"
        "  foo: not a parameter of toy; its parameters: name, value, action, rank, service, engine\n"
        "  rank: 'one' is not int\n"
    )
    assert runs() == []
    assert run("+foo=1")[0] == 2
    assert runs() == []


def test_faults_of_a_sweep_are_one_message_too(conf: Path) -> None:
    code, _, err = run("-m", "valeu=1,2", "foo=range(3)", "rank=one,2")
    assert code == 2
    assert err.endswith(
        "3 faults in the configuration:\n"
        "  valeu: not a parameter of toy; did you mean 'value'?\n"
        "  foo: not a parameter of toy; its parameters: name, value, action, rank, service, engine\n"
        "  rank: 'one' is not int\n"
    )


def test_a_part_that_another_verb_has(conf: Path) -> None:
    (conf / "peft").mkdir()
    (conf / "peft" / "lora.yaml").write_text("rank: 1\n")
    assert run("peft=lora") == (
        2,
        "",
        "1 fault in the configuration:\n  peft: no part of toy; python launch.py toy --cfg job shows its parts\n",
    )


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["engine=mony"], "engine: 'mony' is not a choice; did you mean 'many'? choices: many, none"),
        (["toi"], "toi: neither KEY=VALUE nor a verb; did you mean 'toy'? verbs: toy, again, migrate, resume, runs"),
        (["--experimental-rerun=x.pickle"], "--experimental-rerun: 'x.pickle' would be unpickled, which runs code"),
        (["--exp", "x.pickle"], "--experimental-rerun: 'x.pickle' would be unpickled, which runs code"),
        (["peft=lora"], "peft: not a parameter of toy; its parameters: name, value, action, rank, service, engine"),
        (["engine=many", "engine.num_nodes=2"], "engine.rendezvous: None is not <host of one of the nodes>:<port>"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_words(conf: Path, words: list[str], fault: str) -> None:
    assert run(*words) == (2, "", f"1 fault in the configuration:\n  {fault}\n")


def test_a_malformed_override_is_refused_without_a_traceback(conf: Path) -> None:
    code, _, err = run("value=[1")
    assert code == 2
    assert "value=[1" in err
    assert "Traceback" not in err


def test_a_failure_is_shown_with_its_traceback_and_noted(conf: Path) -> None:
    code, _, err = run("action=raise")
    assert code == 1
    assert "RuntimeError: boom on rank 0" in err
    assert "toy_verbs.py" in err
    assert "<dd>failed</dd><dt>why</dt><dd>RuntimeError: boom" in (runs()[0] / "report.html").read_text()
    assert status(runs()[0]) | {"step": 0} == {
        "state": "failed", "step": 0, "metric": None, "reason": "RuntimeError: boom on rank 0", "rank": 0
    }  # fmt: skip


def test_a_users_error_is_a_message_alone(conf: Path) -> None:
    code, _, err = run("action=refuse")
    assert code == 1
    assert err == "data: no such file; give another\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_run_that_is_asked_to_stop_says_so(conf: Path, number: signal.Signals) -> None:
    process = start("action=wait")
    run_dir = wait_for_run()
    process.send_signal(number)
    code, _, err = finish(process)
    assert (code, err) == (85, "stopped after step 7\n")
    assert status(run_dir)["state"] == "preempted"
    assert status(run_dir)["step"] == 7


def test_a_name_may_not_lead_out_of_the_runs(conf: Path) -> None:
    code, _, err = run("name=../../elsewhere")
    assert code == 2
    assert "may not lead upwards" in err
    assert not Path("runs").exists()


# --- Hydra's own


def test_hydra_answers_without_torch(conf: Path) -> None:
    code = "import runpy, sys; sys.argv = sys.argv[1:]\ntry: runpy.run_path(sys.argv[0], run_name='__main__')\n"
    code += "except SystemExit: pass\nprint('torch' in sys.modules)"
    for words, shown in [
        (["--cfg", "job"], "value: 1.5"),
        (["--help"], "# Do a little"),
        (["--info"], "Config"),
    ]:
        command = [sys.executable, "-c", code, LAUNCH, f"--config-path={conf}", "toy", *words]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert shown in out
        assert out.splitlines()[-1] == "False"
    assert not Path("runs").exists()


@pytest.mark.parametrize(("typed", "offered"), [("toy engine=", "engine=many engine=none"), ("toy val", "value=")])
def test_tab_completes_choices_and_keys(conf: Path, typed: str, offered: str) -> None:
    line = f"python {LAUNCH} {typed}"
    out = subprocess.run(
        [sys.executable, LAUNCH, f"--config-path={conf}", "-sc", "query=bash"],
        env={**os.environ, "COMP_LINE": line, "COMP_POINT": str(len(line))},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert out.strip() == offered


# --- sweeps


def test_a_sweep_runs_every_job_in_a_process_of_its_own_and_shows_a_table(conf: Path) -> None:
    code, out, err = run("-m", "value=3,1,2", "action=return")
    assert code == 0, err
    (sweep,) = runs("sweep-*")
    jobs = sorted(p for p in sweep.iterdir() if p.is_dir())
    assert [re.sub("[0-9a-f]{8}$", "", job.name) for job in jobs] == ["0-", "1-", "2-"]
    assert [status(job)["metric"] for job in jobs] == [3.0, 1.0, 2.0]
    assert len({facts(job)["pid"] for job in jobs}) == 3
    assert [(facts(job)["seen"], facts(job)["hydra"]) for job in jobs] == [([0], False)] * 3
    assert out.count("toy toy on rank 0\n") == 3
    assert "Jobs, the best first" in (sweep / "report.html").read_text()
    table = out[out.index("job ") :]
    assert [line for line in table.splitlines() if "completed" in line and jobs[1].name in line]
    assert "*" not in table, "one run each is no evidence"


def test_a_config_can_ask_for_a_sweep(conf: Path) -> None:
    code, out, err = run("sweep=two")
    assert code == 0, err
    assert out.count("completed") == 2


def test_a_failed_job_does_not_stop_the_others_and_a_second_start_runs_it_alone(conf: Path) -> None:
    words = ("-m", "action=return,refuse,return", "hydra.sweep.dir=mine")
    code, out, err = run(*words)
    assert code == 1
    assert "data: no such file; give another" in err
    assert "Traceback" not in err
    jobs = sorted(p for p in Path("mine").iterdir() if p.is_dir())
    assert [status(job)["state"] for job in jobs] == ["completed", "failed", "completed"]
    assert "failed: data: no" in out
    pids = [facts(job)["pid"] for job in jobs]
    code, out, err = run(*words)
    again = [facts(job)["pid"] for job in jobs]
    assert [a == b for a, b in zip(pids, again, strict=True)] == [True, False, True]
    assert err.count("was completed before") == 2


def test_a_sweep_that_is_killed_and_started_again_runs_what_was_not_completed(conf: Path) -> None:
    words = ("-m", "action=return,wait", "hydra.sweep.dir=mine")
    process = start(*words)
    end = time.monotonic() + 60
    while not list(Path("mine").glob("1-*/ready0")):
        assert time.monotonic() < end
        time.sleep(0.05)
    process.kill()
    process.communicate()
    jobs = sorted(p for p in Path("mine").iterdir() if p.is_dir())
    while status(jobs[1])["state"] == "running":
        assert time.monotonic() < end
        time.sleep(0.05)
    pids = [facts(job)["pid"] for job in jobs]
    (jobs[1] / "ready0").unlink()
    process = start(*words)
    wait_for(jobs[1] / "ready0")
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code != 0
    assert err.count("was completed before") == 1
    assert [facts(job)["pid"] == pid for job, pid in zip(jobs, pids, strict=True)] == [True, False]
    assert [status(job)["state"] for job in jobs] == ["completed", "preempted"]


def test_a_faulty_job_of_a_sweep_is_in_the_table(conf: Path) -> None:
    code, out, err = run("-m", "value=1,soon")
    assert code == 2
    assert "value: 'soon' is not float" in err
    assert "completed" in out
    assert "failed: 1 fault" in out


# --- other launchers

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone")


def test_torchrun_starts_one_run(conf: Path) -> None:
    code, _, err = run("engine=many", "engine.num_processes=null", "action=sum", "value=2", before=TORCHRUN)
    assert code == 0, err
    (run_dir,) = runs()
    assert status(run_dir)["metric"] == 6
    assert [facts(run_dir, rank)["processes"] for rank in range(2)] == [2, 2]


def test_under_torchrun_a_signal_before_the_first_step_is_noted(conf: Path) -> None:
    process = start("engine=many", "action=load", before=TORCHRUN)
    run_dir = wait_for_run(("ready0", "ready1"))
    process.send_signal(signal.SIGTERM)
    _, _, err = finish(process)
    assert err.count("stopped before there was anything to save") == 2
    assert status(run_dir)["state"] == "preempted"


def test_under_torchrun_a_signal_to_one_rank_before_the_first_step_ends_all(conf: Path) -> None:
    process = start("engine=many", "action=load", before=TORCHRUN)
    run_dir = wait_for_run(("ready0", "ready1"))
    os.kill(int(str(facts(run_dir, 1)["pid"])), signal.SIGUSR1)
    _, _, err = finish(process)
    assert "exitcode  : 130" in err
    assert status(run_dir)["state"] == "preempted"


def test_under_srun_a_signal_before_the_first_step_ends_all_and_promises_no_checkpoint(conf: Path) -> None:
    step = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NODELIST": "localhost"}
    tasks = [start("engine=many", "action=load", **step, SLURM_PROCID=r, SLURM_LOCALID=r) for r in ("0", "1")]
    run_dir = wait_for_run(("ready0", "ready1"))
    for task in tasks:
        task.send_signal(signal.SIGUSR1)
    assert [finish(task)[0] for task in tasks] == [130, 130]
    assert status(run_dir)["state"] == "preempted"


def test_the_tasks_of_srun_are_one_run(conf: Path) -> None:
    step = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NODELIST": "localhost"}
    tasks = [start("engine=many", "action=sum", **step, SLURM_PROCID=r, SLURM_LOCALID=r) for r in ("0", "1")]
    assert [finish(task)[0] for task in tasks] == [0, 0]
    (run_dir,) = runs()
    assert status(run_dir)["metric"] == 4.5


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["-m", "value=1,2"], "--multirun: torchrun has started 2 processes"),
        (["hydra.mode=MULTIRUN"], "hydra.mode: MULTIRUN starts its own processes"),
        (["valeu=2"], "valeu: not a parameter of toy; did you mean 'value'?"),
        (["engine=none"], "engine.num_processes: 1, but torchrun started 2"),
    ],
)
def test_under_torchrun_a_fault_ends_every_process(conf: Path, words: list[str], fault: str) -> None:
    code, _, err = run(*words, before=TORCHRUN)
    assert code == 1
    assert fault in err
    assert "exitcode  : 2" in err
    assert [path for path in Path("runs").rglob("config.yaml") if ".hydra" not in path.parts] == []


@pytest.mark.parametrize(
    ("env", "fault"),
    [
        ({"RANK": "0"}, "RANK=0: set, but not LOCAL_RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT; unset "),
        ({"ACCELERATE_USE_FSDP": "true"}, "ACCELERATE_USE_FSDP: 'true' in the environment would override engine=…; "),
    ],
)
def test_what_another_launcher_left_behind_is_found(conf: Path, env: dict[str, str], fault: str) -> None:
    code, _, err = run(**env)
    assert code == 2
    assert fault in err
