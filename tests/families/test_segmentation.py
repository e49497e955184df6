"""Family `segmentation` and task `cutout` on tiny random models, and on the real u2netp."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onebox.core.cancel import interruptible
from onebox.core.contracts import Entry
from onebox.core.errors import Cancelled, InvalidInput, ModelBroken
from onebox.core.results import Output
from onebox.families.segmentation import Segmentation
from onebox.imaging.segmentation import library
from onebox.imaging.segmentation.contracts import SegmentationBundle
from onebox.imaging.segmentation.u2net import U2Net
from onebox.registry.on_disk import open_on_disk
from onebox.starter.catalogue import U2NETP
from onebox.tasks.cutout import Cutout, CutoutInput
from tests.families import tiny_segmenters as tiny
from tests.families.languages import device, entry
from tests.support.starter import u2netp_folder

FAMILY = Segmentation()
DATA = Path(__file__).parents[1] / "data" / "cutouts"
SIZE = (90, 60)


class Context:
    """A RunContext for one request."""

    lean = False

    def __init__(self, entry: Entry) -> None:
        self.entry, self.device = entry, device()
        self.steps: list[tuple[int, int]] = []

    def read(self, media: Any) -> bytes:
        assert media.data is not None
        return bytes(media.data)

    def check(self) -> None:
        return

    def step(self, step: int, steps: int) -> None:
        self.steps.append((step, steps))


def photo(mode: str = "RGB") -> bytes:
    values = np.random.default_rng(0).integers(0, 255, (6, 9, 3), dtype=np.uint8)
    image = Image.fromarray(values).resize(SIZE, Image.Resampling.BICUBIC).convert(mode)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def loaded(path: Path, **overrides: Any) -> tuple[SegmentationBundle, Entry]:
    match = FAMILY.matches(open_on_disk(path))
    assert match is not None
    found = entry(path, FAMILY, **overrides)
    bundle = FAMILY.load(_of_kind(found, match.kind), device())
    assert isinstance(bundle, SegmentationBundle)
    return bundle, found


def _of_kind(entry: Entry, kind: str) -> Entry:
    import msgspec

    return msgspec.structs.replace(entry, kind=kind)


def cut(path: Path, raw: bytes | None = None, **values: Any) -> Output:
    bundle, found = loaded(path)
    request = CutoutInput(image=raw or photo(), **values)
    task, context = Cutout(), Context(found)
    task.check(request, found)
    (output,) = task.run(bundle, request, context)  # type: ignore[arg-type]
    assert context.steps == [(1, 1)]
    return output


@pytest.fixture(scope="module")
def clothes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.segformer(tmp_path_factory.mktemp("models") / "segformer")


def test_our_u2net_is_the_one_of_the_paper() -> None:
    import torch

    tensors = tiny.u2net_tensors(norms=True)
    pixels = torch.randn(2, 3, 75, 90)
    with torch.inference_mode():
        ours = U2Net(tensors, "cpu", torch.float32)(pixels)
        theirs = tiny.plain_u2net(tensors, pixels)
    assert ours.shape == (2, 75, 90)
    assert theirs.std() > 0.01
    assert (ours - theirs).abs().max() < 1e-5


@pytest.mark.parametrize("norms", [False, True])
def test_a_file_of_u2net_is_recognised_by_its_names(tmp_path: Path, norms: bool) -> None:
    path = tiny.u2net(tmp_path / "u2net.safetensors", norms=norms)
    match = FAMILY.matches(open_on_disk(path))
    assert match is not None
    assert (match.kind, match.facts["labels"]) == ("U2Net", [])
    bundle, _ = loaded(path)
    estimate = FAMILY.estimate(open_on_disk(path), device())
    assert bundle.size_bytes <= estimate < bundle.size_bytes * 2
    bundle.close()


def test_a_file_of_u2net_that_lacks_some_weights_is_broken(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    tensors = tiny.u2net_tensors()
    del tensors["stage4d.rebnconv2.conv_s1.bias"]
    save_file(tensors, tmp_path / "u2net.safetensors")
    with pytest.raises(ModelBroken, match=r"1 weights .* stage4d\.rebnconv2\.conv_s1\.bias"):
        FAMILY.matches(open_on_disk(tmp_path / "u2net.safetensors"))


def test_other_files_are_not_its_own(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"side6.weight": torch.zeros(1)}, tmp_path / "a.safetensors")
    assert FAMILY.matches(open_on_disk(tmp_path / "a.safetensors")) is None


@pytest.mark.parametrize(
    "make", [tiny.segformer, tiny.mobilevit, tiny.detr], ids=lambda make: make.__name__
)
def test_a_model_of_the_library_cuts_out_its_labels(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    folder = make(tmp_path / "model")
    bundle, found = loaded(folder)
    assert found.facts["labels"] == tiny.CLOTHES
    picture = Image.open(io.BytesIO(photo()))
    each = [bundle.segmenter.see(picture, [label]) for label in range(3)]
    assert all(seen.min() >= 0 and seen.max() <= 1 for seen in each)
    both = bundle.segmenter.see(picture, [1, 2])
    assert np.abs(both - each[1] - each[2]).max() < 1e-5
    assert sum(each).max() < 1 + 1e-5
    assert FAMILY.estimate(open_on_disk(folder), device()) >= bundle.size_bytes * 0.9


def test_labels_follow_the_library(clothes: Path) -> None:
    """Where the library's own map says a label, it is the likeliest of ours too."""
    import torch
    from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

    picture = Image.open(io.BytesIO(photo())).resize((64, 64))
    bundle, _ = loaded(clothes)
    ours = np.stack([bundle.segmenter.see(picture, [label]) for label in range(3)]).argmax(0)
    model: Any = AutoModelForSemanticSegmentation.from_pretrained(clothes)
    processor: Any = AutoImageProcessor.from_pretrained(clothes)
    with torch.inference_mode():
        answer = model(**processor(images=[picture], return_tensors="pt"))
    theirs = processor.post_process_semantic_segmentation(answer)[0].numpy()
    assert (ours == theirs).mean() > 0.99
    assert len(np.unique(theirs)) > 1


@pytest.mark.parametrize("make", [tiny.u2net, tiny.segformer], ids=["u2net", "segformer"])
def test_a_request_that_nobody_wants_ends_inside_a_pass(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    bundle, _ = loaded(make(tmp_path / "model.safetensors"))
    asked = iter([None, None, Cancelled("gone")])

    def check() -> None:
        if (error := next(asked)) is not None:
            raise error

    with interruptible(check), pytest.raises(Cancelled):
        bundle.segmenter.see(Image.open(io.BytesIO(photo())), [])
    seen = bundle.segmenter.see(Image.open(io.BytesIO(photo())), [])
    assert seen.max() > 0


@pytest.mark.parametrize("names", [("logits", "pred_masks"),
                                   ("class_queries_logits", "masks_queries_logits")])  # fmt: skip
def test_masks_that_overlap_share_a_pixel(names: tuple[str, str]) -> None:
    """One shows a hat everywhere, one a coat in the left half, and the last shows nothing."""
    import torch

    shown = torch.full((1, 3, 4), -20.0)
    shown[0, [0, 1, 2], [1, 2, 3]] = 20.0
    masks = torch.full((1, 3, 2, 4), 20.0)
    masks[0, 1, :, 2:] = -20.0
    likely = library._of_masks(SimpleNamespace(**dict(zip(names, (shown, masks), strict=True))))
    assert likely[:, 0].round(decimals=3).tolist() == [
        [0, 0, 0, 0],
        [0.5, 0.5, 1, 1],
        [0.5, 0.5, 0, 0],
    ]


def test_a_model_without_a_preprocessor_or_with_code_is_broken(clothes: Path) -> None:
    config = clothes / "config.json"
    kept, settings = config.read_text(), clothes / "preprocessor_config.json"
    config.write_text(json.dumps(json.loads(kept) | {"auto_map": {"AutoModel": "evil.Evil"}}))
    with pytest.raises(ModelBroken, match="remote code"):
        FAMILY.matches(open_on_disk(clothes))
    config.write_text(kept)
    told = settings.read_text()
    settings.unlink()
    with pytest.raises(ModelBroken, match=r"preprocessor_config\.json is missing"):
        FAMILY.matches(open_on_disk(clothes))
    settings.write_text(told)


def test_a_cutout_has_the_pictures_size_and_pixels(tmp_path: Path) -> None:
    output = cut(tiny.u2net(tmp_path / "u2net.safetensors"))
    image = output.value
    assert (image.mode, image.size) == ("RGBA", SIZE)
    assert image.convert("RGB").tobytes() == Image.open(io.BytesIO(photo())).tobytes()
    low, high = image.getchannel("A").getextrema()
    assert high - low > 128
    assert (output.meta["width"], output.meta["height"]) == SIZE
    assert 0.5 <= output.meta["confidence"] <= 1
    assert 0 <= output.meta["edge_sharpness"] <= 1


def test_a_matte_is_the_alpha_of_the_cutout(tmp_path: Path) -> None:
    path = tiny.u2net(tmp_path / "u2net.safetensors")
    matte = cut(path, output="matte", output_format="webp")
    assert matte.value.mode == "L"
    assert matte.value.tobytes() == cut(path).value.getchannel("A").tobytes()
    assert matte.options["format"] == "webp"


def test_what_was_transparent_before_stays_so(tmp_path: Path) -> None:
    half = Image.open(io.BytesIO(photo("RGBA")))
    half.paste((9, 9, 9, 0), (0, 0, 45, 60))
    file = io.BytesIO()
    half.save(file, "PNG")
    alpha = cut(tiny.u2net(tmp_path / "a.safetensors"), file.getvalue()).value.getchannel("A")
    assert np.asarray(alpha)[:, :45].max() == 0
    assert np.asarray(alpha)[:, 45:].max() > 0


def test_labels_choose_what_is_cut_out(clothes: Path) -> None:
    with pytest.raises(InvalidInput, match="does not know 'shoe'; it knows Background, Hat"):
        cut(clothes, labels=["shoe"])
    mattes = {
        label: cut(clothes, labels=[label], output="matte").value.tobytes()
        for label in ("hat", "Background")
    }
    assert mattes["hat"] != mattes["Background"]


def test_u2netp_sees_what_the_onnx_original_sees() -> None:
    """Every eighth value of what ONNX Runtime 1.31 made of the same photo."""
    stored = np.load(DATA / "u2netp_coffee.npy")
    bundle, _ = loaded(u2netp_folder() / U2NETP.folder)
    seen = bundle.segmenter.see(Image.open(DATA / "coffee.png"), [])
    # Two ways of adding up the same float32 products are up to 8e-5 apart here.
    assert np.abs(seen[4::8, 4::8] - stored).max() < 1e-4


def test_u2netp_cuts_out_the_cup() -> None:
    raw = (DATA / "coffee.png").read_bytes()
    output = cut(u2netp_folder() / U2NETP.folder, raw, output="matte")
    ours = np.asarray(output.value) >= 128
    drawn = np.asarray(Image.open(DATA / "coffee_mask.png").convert("L")) >= 128
    assert (ours & drawn).sum() / (ours | drawn).sum() > 0.95
    assert output.meta["confidence"] > 0.95
