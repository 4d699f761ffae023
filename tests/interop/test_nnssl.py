"""Weights that nnssl has pre-trained, as a beginning for trainings."""

import pytest
import torch

import nnunet_layout as layout
from autoseg.base.errors import UserError
from autoseg.cli import import_model
from autoseg.interop.nnssl import adapted, architecture_of, import_nnssl, plan_of
from autoseg.nn.model import build_model
from autoseg.nn.transfer import Meaning, take_over
from autoseg.training.source import open_source
from autoseg.workspace.names import Workspace
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec

ARGUMENTS = layout.arguments_of("residual", [[1, 1, 1], [2, 2, 2], [2, 2, 2]], [[3, 3, 3]] * 3)
NETWORK = layout.random_unet(ARGUMENTS, 1, 1)


def adaptation(name: str = "ResidualEncoderUNet", prefix: str = "", **more):
    arguments = ARGUMENTS if name == "ResidualEncoderUNet" else None
    return {"architecture_plans": {"arch_class_name": name, "arch_kwargs": arguments, "arch_kwargs_requiring_import": None},
            "pretrain_plan": {"configurations": {"onemmiso": {"spacing": [1, 1, 1], "patch_size": [16, 16, 16],
                                                              "normalization_schemes": ["ZScoreNormalization"]}}},
            "pretrain_num_input_channels": 1, "recommended_downstream_patchsize": [16, 16, 16],
            "key_to_encoder": f"{prefix}encoder.stages", "key_to_stem": f"{prefix}encoder.stem",
            "keys_to_in_proj": ["encoder.stem.convs.0.conv"], **more}


def saved(tmp_path, weights=None, **more):
    prefix = more.get("prefix", "")
    weights = NETWORK.state_dict() if weights is None else weights
    torch.save({"network_weights": {prefix + name: tensor for name, tensor in weights.items()},
                "trainer_name": "BaseMAETrainer", "nnssl_adaptation_plan": adaptation(**more)}, tmp_path / "c.pth")
    return tmp_path / "c.pth"


@pytest.mark.parametrize("prefix", ["", "net."])
def test_a_training_of_other_channels_and_labels_takes_over_all_of_the_encoder(tmp_path, prefix):
    imported = import_nnssl(saved(tmp_path, prefix=prefix), Workspace(tmp_path / "home"))
    source = open_source(imported.model.pretraining("nnssl").path, 0)
    assert source.is_pretraining and source.plan.dataset == "Dataset001_nnssl"
    target = source.plan.model_copy(update={
        "channels": (ChannelSpec(name="T1"), ChannelSpec(name="T2")),
        "labels": LabelSpec(names={"background": (0,), "a": (1,)})})
    configuration = source.configuration.model_copy(update={"normalizers": source.configuration.normalizers * 2})
    fresh = build_model(target, configuration).state_dict()
    meaning = Meaning(target, configuration, heads=target.labels.heads)
    taken = take_over(source.read_weights(), source.meaning, fresh, meaning)
    assert taken.encoder_share > 0.99
    assert torch.equal(taken.weights["network.encoder.1.0.first.0.weight"],
                       NETWORK.state_dict()["encoder.stages.1.blocks.0.conv1.conv.weight"])
    assert torch.equal(taken.weights["network.decoder.ups.0.weight"], NETWORK.state_dict()["decoder.transpconvs.0.weight"])


def test_resenc_l_is_the_network_of_openmind():
    unet = architecture_of(adaptation("ResEncL"))
    assert unet.features == (32, 64, 128, 256, 320, 320) and unet.blocks_encoder == (1, 3, 4, 6, 6, 6)
    arguments = {"features_per_stage": unet.features, "kernel_sizes": unet.kernel_sizes, "strides": unet.strides,
                 "n_blocks_per_stage": unet.blocks_encoder, "n_conv_per_stage_decoder": unet.convs_decoder,
                 "conv_bias": True}
    with torch.device("meta"):
        weights = layout.Unet(arguments, 1, 1).state_dict()
    taken, remarks = adapted(weights, plan_of(adaptation("ResEncL"), unet, 1, "Dataset001_nnssl"))
    assert not remarks and sum(tensor.numel() for tensor in taken.values()) > 100e6


def test_a_pretraining_of_the_encoder_alone_is_imported_without_decoder(tmp_path):
    weights = {name: tensor for name, tensor in NETWORK.state_dict().items() if name.startswith("encoder.")}
    imported = import_nnssl(saved(tmp_path, weights), Workspace(tmp_path / "home"), number=4)
    assert imported.record.remarks and imported.model.dataset == "Dataset004_nnssl"
    assert not any("decoder" in name for name in open_source(imported.model.pretraining("nnssl").path, 0).read_weights())


@pytest.mark.parametrize(("more", "message"), [
    ({"name": "PrimusM"}, "no counterpart here .*found: PrimusM"), ({"key_to_encoder": "eva"}, "the weights are not those"),
    ({"pretrain_num_input_channels": "many"}, "not one that nnssl has pre-trained")])
def test_another_architecture_and_a_damaged_adaptation_are_refused(tmp_path, more, message):
    weights = NETWORK.state_dict() if "key_to_encoder" not in more else {"eva.weight": torch.ones(1)}
    with pytest.raises(UserError, match=message):
        import_nnssl(saved(tmp_path, weights, **more), Workspace(tmp_path / "home"))
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_checkpoint_without_adaptation_plan_is_refused_by_the_command(tmp_path, capsys):
    torch.save({"network_weights": {}}, tmp_path / "c.pth")
    assert import_model.main(["nnssl", str(tmp_path / "c.pth"), "--home", str(tmp_path)]) == 2
    assert "'nnssl_adaptation_plan' is missing" in capsys.readouterr().err


def test_the_command_says_how_to_begin_from_it(tmp_path, capsys):
    assert import_model.main(["nnssl", str(saved(tmp_path)), "--home", str(tmp_path / "home")]) == 0
    assert "--from " in capsys.readouterr().out


def test_a_checkpoint_of_a_billion_channels_is_refused(tmp_path):
    with pytest.raises(UserError, match="found: 1000000000 channels"):
        import_nnssl(saved(tmp_path, pretrain_num_input_channels=10**9), Workspace(tmp_path / "home"))
