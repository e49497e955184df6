"""What is wrong with a card, and how to mend it, in words for the person at the keyboard."""

from __future__ import annotations

import re
from collections.abc import Callable

from onebox.hardware.facts import Card, Facts, SeenCard, TorchBuild, Vendor

_INDEX = "https://download.pytorch.org/whl/"
_CURRENT_CUDA = "cu130"
_OLD_CUDA = "cu126"  # the last to carry cards below Turing (7.5), and content with older drivers
_ROCM = "rocm7.2"
_FIRST_CURRENT = (7, 5)
_FIRST_EVER = (5, 0)
_LEAST_DRIVER = {11: 450, 12: 525, 13: 580}
# Embedded chips: kernels for another chip of the same generation do not run on them.
_EMBEDDED = {(5, 3), (6, 2), (7, 2), (8, 7), (10, 1)}
_ARCHITECTURE = re.compile(r"(sm|compute)_(\d+)(\d)([af]?)")
_CLAIM = (
    "claim a chip of its generation that is, with HSA_OVERRIDE_GFX_VERSION=10.3.0 for gfx103x or "
    "11.0.0 for gfx110x, or set ONEBOX_DEVICE=cpu"
)
_MEANT = "or set ONEBOX_DEVICE=cpu if the CPU is meant"


def install(tag: str) -> str:
    """The command that installs another build of torch."""
    return f"ONEBOX_TORCH_INDEX={_INDEX}{tag} python3 app.py"


def runs_cuda(capability: tuple[int, int], architectures: tuple[str, ...]) -> bool:
    """Whether a card runs any of the kernels in a build.

    `sm_XY` runs on the same major version from that minor on; `compute_XY` is compiled on the spot
    for anything newer; a trailing `a` ties both to exactly that chip, `f` to its generation.
    """
    return not architectures or any(_runs(capability, text) for text in architectures)


def _runs(capability: tuple[int, int], architecture: str) -> bool:
    found = _ARCHITECTURE.fullmatch(architecture)
    if found is None:
        return False
    built = (int(found[2]), int(found[3]))
    if found[4] == "a":
        return capability == built
    if found[1] == "compute" and found[4] != "f":
        return capability >= built
    same_chip = capability == built or not {capability, built} & _EMBEDDED
    return capability[0] == built[0] and capability >= built and same_chip


def runs_rocm(architecture: str, architectures: tuple[str, ...]) -> bool:
    """The same for AMD: kernels are for one chip ("gfx1100") or many ("gfx11-generic")."""
    chip = architecture.partition(":")[0]
    return not architectures or any(
        chip.startswith(text.removesuffix("-generic").replace("-", ""))
        if text.endswith("-generic")
        else chip == text
        for text in architectures
    )


def card_problems(card: Card, build: TorchBuild) -> tuple[str, ...]:
    """Problems of a card that torch lists."""
    if card.error:
        return (
            f"{card.name} cannot be read ({card.error}): check its driver, restart the machine",
        )
    remedy = _remedy_if_lacking(card, build)
    if remedy is None:
        return ()
    carried = f"{build.architectures[0]} … {build.architectures[-1]}"
    return (f"{card.name} ({card.architecture}) is not in this torch build ({carried}): {remedy}",)


def _remedy_if_lacking(card: Card, build: TorchBuild) -> str | None:
    if build.hip:
        return None if runs_rocm(card.architecture, build.architectures) else _CLAIM
    if card.capability is None or runs_cuda(card.capability, build.architectures):
        return None
    return _cuda_remedy(card.capability)


def _cuda_remedy(capability: tuple[int, int]) -> str:
    if capability < _FIRST_EVER:
        return "no build carries it any more; set ONEBOX_DEVICE=cpu"
    if capability < _FIRST_CURRENT:
        return f"install the build for older cards: {install(_OLD_CUDA)}"
    return f"install a current CUDA build: {install(_CURRENT_CUDA)}"


def missed_cards(facts: Facts) -> tuple[str, ...]:
    """Cards in this machine that torch does not list, each with the likeliest reason and remedy."""
    listed = {"nvidia": facts.cuda, "amd": facts.cuda, "apple": facts.mps}
    return tuple(_missed(facts, card) for card in facts.seen if not listed[card.vendor])


def _missed(facts: Facts, card: SeenCard) -> str:
    driver = f" (driver {card.driver})" if card.driver else ""
    reason = next(text for applies, text in _REASONS[card.vendor] if applies(facts, card))
    return f"{card.name}{driver} is present but torch cannot use it: " + reason.format(
        torch=facts.torch.version,
        driver=card.driver,
        cuda=facts.torch.cuda,
        said=f" (torch says: {facts.torch.error})" if facts.torch.error else "",
        note=f" ({card.note})" if card.note else "",
        hidden=facts.hidden_by,
        needed=_needed_driver(facts),
        install=_install_for(card),
        install_rocm=install(_ROCM),
    )


def _install_for(card: SeenCard) -> str:
    """The newest CUDA build that runs on the card's driver."""
    if _older(card, _LEAST_DRIVER[12]):
        return f"update the driver to {_LEAST_DRIVER[13]} or newer and run {install(_CURRENT_CUDA)}"
    return install(_OLD_CUDA if _older(card, _LEAST_DRIVER[13]) else _CURRENT_CUDA)


def _older(card: SeenCard, least: int) -> bool:
    found = re.match(r"\d+", card.driver or "")
    return found is not None and int(found[0]) < least


def _needed_driver(facts: Facts) -> int:
    return _LEAST_DRIVER.get(int((facts.torch.cuda or "0").partition(".")[0]), 0)


_Row = tuple[Callable[[Facts, SeenCard], bool], str]
_NO_TORCH: _Row = (
    lambda facts, card: facts.torch.version is None,
    "torch cannot be imported{said}: python3 app.py installs it",
)
_HIDDEN: _Row = (
    lambda facts, card: facts.hidden_by is not None,
    f"{{hidden}} hides it: unset that, {_MEANT}",
)
# For each vendor, the first row that applies; the last always does.
_REASONS: dict[Vendor, tuple[_Row, ...]] = {
    "nvidia": (
        (
            lambda facts, card: card.driver is None,
            "no NVIDIA driver answers{note}: install or restart the driver, "
            f"in a container start it with `--gpus all`, {_MEANT}",
        ),
        _NO_TORCH,
        (
            lambda facts, card: facts.torch.cuda is None,
            "torch {torch} is built without CUDA: {install}",
        ),
        _HIDDEN,
        (
            lambda facts, card: _older(card, _LEAST_DRIVER[12]),
            "driver {driver} is too old: {install}",
        ),
        (
            lambda facts, card: _older(card, _needed_driver(facts)),
            "CUDA {cuda} needs driver {needed} or newer: update the driver, or take the build "
            "for this one: {install}",
        ),
        (
            lambda facts, card: True,
            f"CUDA does not start{{said}}: restart the machine if the driver was updated, {_MEANT}",
        ),
    ),
    "amd": (
        _NO_TORCH,
        (
            lambda facts, card: facts.torch.hip is None,
            f"torch {{torch}} is built without ROCm: {{install_rocm}} (Linux), {_MEANT}",
        ),
        _HIDDEN,
        (
            lambda facts, card: True,
            "ROCm does not start{said}: the user needs the groups `render` and `video`, "
            f"a container `--device /dev/kfd --device /dev/dri`, {_MEANT}",
        ),
    ),
    "apple": (
        _NO_TORCH,
        (
            lambda facts, card: True,
            "MPS needs macOS 14 or newer and an arm64 Python (not one under Rosetta): "
            f"install these, {_MEANT}",
        ),
    ),
}
