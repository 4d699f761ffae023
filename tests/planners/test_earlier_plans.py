"""Plans that an earlier version wrote: the architecture was `topology`, and the network's name said how it encodes."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from planners.schema.base import Part
from planners.schema.override import override
from planners.schema.plan import Configuration, Plan

# Written by version 0.1, before architectures had a type of their own: a `budgeted` and a `resenc_m` plan, each with one
# configuration.
WRITTEN = json.loads((Path(__file__).parents[1] / "fixtures" / "plans_0.1.json").read_text(encoding="utf-8"))
PLAIN, RESIDUAL = WRITTEN


def configuration_of(written):
    (configuration,) = Plan.model_validate_json(json.dumps(written)).configurations.values()
    return configuration


@pytest.mark.parametrize(("written", "encoder"), [(PLAIN, "plain"), (RESIDUAL, "residual")])
def test_the_topology_becomes_the_architecture_and_the_networks_name_its_encoder(written, encoder):
    configuration = configuration_of(written)
    (before,) = written["configurations"].values()
    assert configuration.network == Part(name="unet")
    assert configuration.architecture.block == encoder
    added = {"kind", "block", "skip", "expansion"}
    assert json.loads(configuration.architecture.model_dump_json(exclude=added)) == before["topology"]


@pytest.mark.parametrize("written", WRITTEN)
def test_what_was_read_is_written_and_read_again_alike(written):
    plan = Plan.model_validate(written)
    assert Plan.model_validate_json(plan.model_dump_json()) == plan


def test_a_network_of_a_plug_in_keeps_its_name():
    (name,) = PLAIN["configurations"]
    own = {**PLAIN["configurations"][name], "network": {"name": "squeezing_unet", "options": {"reduction": 2}}}
    configuration = configuration_of({**PLAIN, "configurations": {name: own}})
    assert configuration.network == Part(name="squeezing_unet", options={"reduction": 2})
    assert configuration.architecture.block == "plain"


def test_blocks_are_still_understood_as_the_encoder():
    configuration = configuration_of(PLAIN)
    changed = override(configuration, ["architecture.encoder=residual"])
    assert changed == override(configuration, ["architecture.block=residual"]) != configuration
    data = configuration.model_dump(mode="json")
    data["architecture"]["encoder"] = data["architecture"].pop("block")
    assert type(configuration).model_validate(data) == configuration


def test_a_network_whose_name_is_no_text_is_a_wrong_value():
    data = configuration_of(RESIDUAL).model_dump(mode="json")
    with pytest.raises(ValidationError, match="network"):
        Configuration.model_validate({**data, "network": {"name": {}, "options": {}}})


def test_a_former_name_of_a_network_still_chooses_the_encoder():
    changed = override(configuration_of(RESIDUAL), ["network.name=plain_unet"])
    assert (changed.network.name, changed.architecture.block) == ("unet", "plain")
