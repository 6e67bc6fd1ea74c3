"""Nothing is lost, whatever happens to a run: the faults by number, and the tests that inject them.

F1 killed at any step - F2 asked to stop - F3 at an awkward moment - F4 killed while saving - F5 killed at any change of
the file system - F6 leftovers - F7 damaged files - F8 full disk - F9 a rank fails or hangs - F10 not finite - F11 loss
spikes - F12 bad data - F13 bad caches - F14 other topology - F15 killed late in a mixture - F16 sweeps - F17 other
launchers - F18 malice - F19 stale environment - F20 no network.
ELSEWHERE names the tests that are not in test_faults*.py.
"""

from __future__ import annotations

import os
import pickle
import re
import resource
import signal
from itertools import count
from pathlib import Path

import pytest
import yaml
from crashes import At, at_change, die, forked
from run_files import metrics, names, same_end, step_files
from toy_training import Run

from mftcoder.core.errors import UserError
from mftcoder.data.mixture import Mixture
from mftcoder.report.record import read
from mftcoder.storage import resumption
from mftcoder.storage.run_directory import read_config
from mftcoder.system import manifest
from mftcoder.system.signals import ending_at_once
from mftcoder.training.monitoring import answers
from mftcoder.training.monitoring.validation import Validator

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow  # Nearly every test forks a process to be killed.
ELSEWHERE = """
F1 launch/test_elastic test_a_rank_that_fails_ends_the_others_at_once
F2 launch/test_elastic test_all_ranks_are_asked_to_stop
F2 launch/test_elastic test_workers_do_not_outlive_a_launcher_that_is_killed
F3 launch/test_launcher test_under_torchrun_a_signal_before_the_first_step_is_noted
F3 launch/test_elastic test_a_second_signal_ends_all_ranks_at_once
F3 system/test_signals test_a_second_ctrl_c_ends_the_process_at_once
F6 storage/test_checkpoints test_what_a_crash_left_half_written_is_cleared_and_never_chosen
F6 storage/test_checkpoints test_saving_a_step_again_replaces_it
F8 storage/test_checkpoints test_too_little_space_is_seen_before_anything_is_written
F8 storage/test_checkpoints test_another_rank_fails_with_rank_zero
F9 launch/test_elastic test_a_rank_that_fails_ends_the_others_at_once
F10 training/monitoring/test_anomalies test_too_many_in_a_row_end_the_run
F10 training/test_loop test_a_step_that_is_not_finite_changes_nothing
F11 training/monitoring/test_anomalies test_a_spike_stands_out_of_the_losses_before_it
F12 data/test_mixture test_malformed_records_stop_the_run_and_are_listed
F12 data/records/test_reader test_a_bad_line_costs_no_good_one
F12 data/records/test_reader test_a_line_of_ten_megabytes_is_a_line
F12 data/records/test_reader test_any_bytes_end_as_records_or_faults
F13 data/test_mixture test_a_changed_source_is_noticed
F13 data/test_mixture test_a_damaged_table_is_made_anew
F13 data/corpus/test_cache test_of_several_processes_one_builds
F16 launch/test_launcher test_a_failed_job_does_not_stop_the_others_and_a_second_start_runs_it_alone
F16 launch/test_launcher test_a_sweep_that_is_killed_and_started_again_runs_what_was_not_completed
F16 launch/test_search test_a_search_that_is_killed_at_every_trial_ends_like_one_that_is_not
F16 launch/test_study test_a_trial_without_a_word_is_tried_again_and_counted_once
F17 launch/test_launcher test_under_torchrun_a_fault_ends_every_process
F17 launch/test_launcher test_torchrun_starts_one_run
F18 cli/test_config test_a_foreign_target_is_refused_before_it_is_imported
F18 launch/test_launcher test_a_name_may_not_lead_out_of_the_runs
F18 launch/test_launcher test_what_cannot_be_meant_is_refused_in_words
F18 model/test_causal_lm test_pickled_weights_are_refused
F18 model/test_causal_lm test_code_in_a_model_directory_does_not_run_unless_asked
F19 launch/test_launcher test_what_another_launcher_left_behind_is_found
F19 launch/test_world test_leftovers_and_what_cannot_work
F20 model/test_causal_lm test_loading_needs_no_network
F20 model/test_causal_lm_offline test_f20_what_is_in_the_cache_is_taken_with_one_warning
F20 model/test_causal_lm_offline test_f20_what_is_not_there_is_one_clear_error
F20 tracker/test_wandb test_without_a_login_the_run_goes_on_with_one_warning
"""


def test_every_fault_is_injected_somewhere():
    tests = Path(__file__).parents[1]
    files = "".join(path.read_text(encoding="utf-8") for path in tests.glob("faults/test_faults*.py"))
    here = re.findall(r"^def test_f(\d+)(?:_f(\d+))?_", files, re.MULTILINE)
    named = [line.split() for line in ELSEWHERE.split("\n") if line]
    for _, file, test in named:
        assert f"def {test}(" in (tests / f"{file}.py").read_text(encoding="utf-8"), (file, test)
    numbers = {int(n) for pair in here for n in pair if n} | {int(row[0][1:]) for row in named}
    assert numbers == set(range(1, 21))


# --- F1, F15: killed at a step


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 6])
def test_f1_killed_after_any_step(whole, run, tmp_path, step):
    assert forked(lambda: run(tmp_path / "a", also=At(step, die))) == -signal.SIGKILL
    run(tmp_path / "a", "resume=auto")
    assert same_end(tmp_path / "a", whole[0])


def test_f1_killed_again_and_again(whole, run, tmp_path):
    for step in (1, 3, 4, 5):
        assert forked(lambda step=step: run(tmp_path / "a", "resume=auto", also=At(step, die))) == -signal.SIGKILL
    run(tmp_path / "a", "resume=auto")
    assert same_end(tmp_path / "a", whole[0])


# --- F2, F3: asked to stop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGUSR2])
def test_f2_a_signal_leaves_a_checkpoint_and_code_85(whole, run, tmp_path, number):
    assert forked(lambda: run(tmp_path / "a", also=At(3, lambda: os.kill(os.getpid(), number)))) == 85
    assert resumption.newest(tmp_path / "a").name == "step_000003"
    run(tmp_path / "a", "resume=auto")
    assert same_end(tmp_path / "a", whole[0])


def interrupting(owner: object, moment: str, number: int) -> None:
    """From now on, as long as this process lives, it is asked to stop when `moment` comes for the n-th time."""
    actual, times = getattr(owner, moment), count(1)

    def interrupted(*args, **facts):
        if next(times) == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return actual(*args, **facts)

    setattr(owner, moment, interrupted)


@pytest.mark.parametrize("moment", [(Mixture, "load"), (answers, "complete"), (Validator, "losses")])
def test_f3_a_signal_before_the_first_step_ends_the_run_at_once_and_leaves_nothing(whole, run, tmp_path, moment):
    """In the data, in the first answers, in the first validation."""

    def job() -> None:
        interrupting(*moment, 1)
        with ending_at_once():
            run(tmp_path / "a", also=At(0, die))

    assert forked(job) == 130
    assert resumption.steps(tmp_path / "a") == []
    run(tmp_path / "a", "resume=auto")
    assert same_end(tmp_path / "a", whole[0])
    assert len((tmp_path / "a" / "samples.jsonl").read_text().splitlines()) == 6


@pytest.mark.parametrize("step", [2, 4, 6])
def test_f3_a_signal_in_a_validation_ends_it_and_the_next_start_makes_up_for_it(whole, run, tmp_path, step):
    def job() -> None:
        interrupting(Validator, "losses", 1 + step // 2)
        run(tmp_path / "a", also=At(step, die))

    assert forked(job) == 85
    assert resumption.newest(tmp_path / "a").name == f"step_{step:06d}"
    run(tmp_path / "a", "resume=auto")
    assert same_end(tmp_path / "a", whole[0])


def test_f3_a_signal_while_saving_waits_for_it(whole, run, tmp_path):
    def job() -> None:
        interrupting(manifest, "seal", 1)
        run(tmp_path / "a")

    assert forked(job) == 85
    run(tmp_path / "a", "resume=auto")
    assert same_end(tmp_path / "a", whole[0])


# --- F4, F5, F6: killed while saving


def toy_bits(run_dir: Path, steps: int) -> list[dict[str, bytes]]:
    """The weights of an uninterrupted toy run after 0, 1, 2 ... steps."""
    run = Run(run_dir)
    bits = [run.bits]
    for _ in range(steps):
        run.train(1)
        bits.append(run.bits)
    return bits


def test_f5_killed_before_any_change_of_the_file_system(tmp_path):
    """Saves steps 1, 2 and 3 and keeps two: killed before change 1, 2, 3 ... of all, there is always a whole one."""
    bits = toy_bits(tmp_path / "reference", 4)
    code, number, seen = -signal.SIGKILL, 0, set()
    while code == -signal.SIGKILL:
        number += 1
        run_dir = tmp_path / str(number) / "run"

        def job(number: int = number, run_dir: Path = run_dir) -> None:
            run = Run(run_dir, saving_limit=2)
            at_change(number, run_dir, die)
            run.trained(1, 2, 3)

        code = forked(job)
        saved = sum(step.is_dir() for step in resumption.steps(run_dir)) if run_dir.exists() else 0
        resumed = Run(run_dir, resume="auto")
        assert resumed.checkpoints.restore(resumed.state) == (saved > 0)
        step = resumed.progress.step
        assert resumed.bits == bits[step]
        resumed.train(4 - step)
        assert resumed.bits == bits[4]
        resumed.save()
        assert names(run_dir)[0] != ".staged"
        seen.add(step)
    assert code == 0
    assert seen == {0, 1, 2, 3}
    assert number > 60


def test_f4_killed_in_the_middle_of_a_file(tmp_path):
    """The disk has half of a file when the process dies."""
    Run(tmp_path).trained(1)

    def job() -> None:
        run = Run(tmp_path, resume="auto")
        run.checkpoints.restore(run.state)
        resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        run.trained(2)

    assert forked(job) == -signal.SIGXFSZ
    assert any(name.startswith(".staged") for name in names(tmp_path))
    resumed = Run(tmp_path, resume="auto")
    assert resumed.checkpoints.restore(resumed.state)
    assert resumed.progress.step == 1
    assert names(tmp_path) == ["latest", "step_000001"]


# --- F7: damaged files


@pytest.mark.parametrize("harm", ["flip", "truncate", "delete"])
def test_f7_damage_is_found_and_the_checkpoint_before_it_taken(whole, run, tmp_path, harm, caplog):
    assert forked(lambda: run(tmp_path / "a", also=At(5, die))) == -signal.SIGKILL
    path = tmp_path / "a" / "checkpoints" / "step_000004" / "optimizer.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content[: -1 if harm == "truncate" else None])
    if harm == "delete":
        path.unlink()
    run(tmp_path / "a", "resume=auto")
    assert "step_000004 is damaged and left out" in caplog.text
    assert "optimizer.safetensors" in caplog.text
    assert same_end(tmp_path / "a", whole[0])


def test_f7_a_damaged_checkpoint_that_was_named_is_refused(run, tmp_path):
    run(tmp_path / "a", "training.max_train_steps=2")
    step = tmp_path / "a" / "checkpoints" / "step_000002"
    (step / "rng.json").write_text("{}")
    with pytest.raises(UserError, match=r"(?s)step_000002: damaged.*rng\.json"):
        run(tmp_path / "b", f"resume={step}")


# --- F8: no space


def test_f8_a_full_disk_leaves_the_earlier_checkpoints_and_says_so(whole, run, tmp_path, capfd):
    def job() -> None:
        limit = At(3, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)))
        run(tmp_path / "a", also=limit)

    assert forked(job) == 1
    assert re.search(
        r"UserError: .*step_000004 could not be saved: .*earlier checkpoints are as", capfd.readouterr().err
    )
    assert resumption.newest(tmp_path / "a").name == "step_000002"
    assert not list((tmp_path / "a" / "checkpoints").glob(".*"))
    run(tmp_path / "a", "resume=auto")
    assert same_end(tmp_path / "a", whole[0])


# --- F15: killed late in a long mixture


def test_f15_killed_in_the_third_epoch_of_a_mixture(run, tmp_path):
    options = ("training.max_train_steps=null", "training.num_train_epochs=4", "peft.lora_dropout=0.1")
    run(tmp_path / "whole", *options)
    steps = int(metrics(tmp_path / "whole")[-1]["step"])
    late = next(int(m["step"]) for m in metrics(tmp_path / "whole") if m["epoch"] > 2.2)
    assert late < steps
    assert forked(lambda: run(tmp_path / "x" / "a", *options, also=At(late, die))) == -signal.SIGKILL
    run(tmp_path / "x" / "a", *options, "resume=auto")
    assert step_files(tmp_path / "x" / "a", steps) == step_files(tmp_path / "whole", steps)
    assert metrics(tmp_path / "x" / "a") == metrics(tmp_path / "whole")


# --- F18: malice


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return Path.touch, (self.canary,)


def test_f18_no_pickle_in_a_checkpoint_is_ever_opened(run, tmp_path):
    run(tmp_path / "a", "training.max_train_steps=2")
    step = tmp_path / "a" / "checkpoints" / "step_000002"
    assert {p.suffix for p in step.iterdir()} <= {".json", ".safetensors", ".md"}
    payload = pickle.dumps(Bomb(tmp_path / "canary"))
    for name in ("optimizer.pt", "rng_state.pth", "pytorch_model.bin", "training_args.bin", "adapter_model.bin"):
        (step / name).write_bytes(payload)
    run(tmp_path / "b", f"resume={step}", "training.max_train_steps=4")
    assert not (tmp_path / "canary").exists()
    (step / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError):
        run(tmp_path / "c", f"resume={step}")
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("reading", [read_config, read])
def test_f18_no_yaml_makes_an_object(tmp_path, reading):
    (tmp_path / ".hydra").mkdir()
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    bomb = f"a: !!python/object/apply:os.mkdir [{tmp_path / 'canary'}]\n"
    for name in ("config.yaml", ".hydra/overrides.yaml"):
        (tmp_path / name).write_text(bomb)
    with pytest.raises((yaml.constructor.ConstructorError, UserError)):
        reading(tmp_path)
    assert not (tmp_path / "canary").exists()
