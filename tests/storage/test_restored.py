"""What a run saved is found again, with the components that the run had."""

import json
import shutil

import pytest
import torch
from saved_runs import save_run
from small_models import some_ids

from mftcoder.core.errors import UserError
from mftcoder.quantization.nf4 import NF4
from mftcoder.storage.restored import find, of_run
from mftcoder.system import manifest
from mftcoder.template.base import Template
from mftcoder.template.mftcoder import MFTCoder

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save_run(tmp_path_factory.mktemp("run"), "peft=qlora")


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    return save_run(tmp_path_factory.mktemp("run"), "peft=none")


def logits(net):
    return net.eval()(input_ids=some_ids(), use_cache=False).logits


@pytest.mark.parametrize("place", ["", "checkpoints/step_000002", "checkpoints/latest"])
def test_a_run_a_step_and_a_pointer_stand_for_the_same_weights(run, place):
    trained = find(str(run.directory / place), model="run", quantization="run")
    assert trained.weights == run.directory / "checkpoints" / "step_000002"
    assert isinstance(trained.quantization, NF4)
    assert isinstance(of_run("template", "run", trained.weights, Template), MFTCoder)


@pytest.mark.parametrize("kind", ["run", "whole_run"])
def test_it_loads_as_it_was_trained(kind, request):
    run = request.getfixturevalue(kind)
    net, tokenizer = find(str(run.directory), model="run", quantization="run").load(CPU)
    assert not net.training
    assert torch.equal(logits(net), run.logits)
    assert len(tokenizer) == 2048


def test_what_is_given_wins(run):
    tiny = run.model(dtype="bfloat16")
    trained = find(str(run.directory), model=tiny, quantization=None)
    assert trained.model is tiny
    net, _ = trained.load(CPU)
    assert not torch.equal(logits(net), run.logits)
    assert torch.nn.functional.cosine_similarity(logits(net).flatten(), run.logits.flatten(), dim=0) > 0.9


def test_without_a_checkpoint_there_is_the_base(run):
    tiny = run.model()
    net, _ = find(None, model=tiny, quantization="run").load(CPU)
    assert torch.equal(logits(net), logits(tiny.load(None, CPU, frozen=True)))


def test_a_moved_step_still_knows_its_run(run, tmp_path):
    shutil.copytree(run.directory / "checkpoints" / "step_000002", tmp_path / "elsewhere")
    net, _ = find(str(tmp_path / "elsewhere"), model="run", quantization="run").load(CPU)
    assert torch.equal(logits(net), run.logits)


@pytest.fixture
def step(run, tmp_path):
    """A copy of the step, sealed as runs seal theirs."""
    shutil.copytree(run.directory / "checkpoints" / "step_000002", tmp_path / "step")
    (tmp_path / "step" / "optimizer.json").write_text("{}")
    manifest.seal(tmp_path / "step")
    return tmp_path / "step"


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json", "run.json"])
def test_a_damaged_step_is_named_with_its_files(step, name):
    (step / name).write_bytes((step / name).read_bytes()[:100])
    with pytest.raises(UserError, match=rf"is damaged, or was changed:\n.*{name}: 100 bytes instead of"):
        find(str(step), model="run", quantization="run")


def test_what_only_resuming_needs_may_be_missing(step):
    (step / "optimizer.json").unlink()
    assert find(str(step), model="run", quantization="run").weights == step


def test_an_adapter_without_a_run_needs_the_model_named(run, tmp_path):
    for file in (run.directory / "checkpoints" / "step_000002").glob("adapter*"):
        shutil.copy(file, tmp_path)
    with pytest.raises(UserError, match=r"model=run takes it from .* has no run.json; give model=<choice>"):
        find(str(tmp_path), model="run", quantization="run")
    trained = find(str(tmp_path), model=run.model(), quantization=None)
    assert trained.is_adapter


def test_an_adapter_over_another_base_of_the_same_shape_is_named(run, caplog):
    find(str(run.directory), model=run.model(), quantization="run").load(CPU)
    assert "was trained over" not in caplog.text
    find(str(run.directory), model=run.model(init_seed=1), quantization="run").load(CPU)
    assert "was trained over" in caplog.text


def test_an_adapter_over_another_base_is_refused(run):
    wider = run.model(hidden_size=128)
    with pytest.raises(UserError, match=r"the adapter in .*step_000002 does not fit .*tiny-.*, but .*tiny-"):
        find(str(run.directory), model=wider, quantization=None).load(CPU)


def test_no_checkpoint_and_no_model_is_refused():
    with pytest.raises(UserError, match="no checkpoint was given"):
        find(None, model="run", quantization="run")


def test_a_pointer_may_lead_to_another_run(run, tmp_path):
    """As that of a run that was resumed, and has seen nothing better yet."""
    (tmp_path / "checkpoints").mkdir()
    step = run.directory / "checkpoints" / "step_000002"
    (tmp_path / "checkpoints" / "best").write_text(str(step))
    assert find(str(tmp_path / "checkpoints" / "best"), model="run", quantization="run").weights == step


def test_a_place_without_weights_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"checkpoint=.*: neither a run \(with checkpoints/latest\) nor"):
        find(str(tmp_path), model="run", quantization="run")
    with pytest.raises(UserError, match=r"checkpoint=.*best: .*give the path of a run, of its checkpoints/best, or of"):
        find(str(tmp_path / "checkpoints" / "best"), model="run", quantization="run")
    with pytest.raises(UserError, match=r"checkpoint=.*absent"):
        find(str(tmp_path / "absent"), model="run", quantization="run")


def test_a_configuration_that_names_foreign_code_is_refused(run, tmp_path):
    step = tmp_path / "step"
    shutil.copytree(run.directory / "checkpoints" / "step_000002", step)
    config = json.loads((step / "run.json").read_text())
    config["model"] = {"_target_": "os.system", "command": f"touch {tmp_path / 'canary'}"}
    (step / "run.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"run.json: model._target_: 'os.system' is none of mftcoder.model"):
        find(str(step), model="run", quantization="run")
    assert not (tmp_path / "canary").exists()
