"""What the doctor says of the devices that a worker is told to use."""

import pytest

from padserve.stack.doctor import Health, device_finding


@pytest.mark.parametrize(
    ("found", "environ", "health"),
    [
        ("2 GPU, NVIDIA H200", {}, Health.OK),
        ("2 GPU, NVIDIA H200", {"PADSERVE_TENSOR_PARALLEL": "2"}, Health.OK),
        ("2 GPU, NVIDIA H200", {"PADSERVE_TENSOR_PARALLEL": "4"}, Health.WRONG),
        ("CPU", {"PADSERVE_TENSOR_PARALLEL": "2"}, Health.NOTE),
        ("CPU", {"PADSERVE_DEVICE": "cuda:0,cuda:1"}, Health.WRONG),
    ],
)
def test_fewer_devices_than_hold_the_model_are_wrong(found: str, environ: dict[str, str], health: Health) -> None:
    assert device_finding(found, environ).health is health
