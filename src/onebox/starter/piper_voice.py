"""A Piper voice as the weights and the configuration of a VitsModel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from onebox.core.errors import ModelBroken
from onebox.starter.onnx_weights import OnnxWeights
from onebox.starter.piper_decoder import doubled_decoder

BLANK = "_"
_Tensors = dict[str, Any]
_DURATION_FLOWS = 4


class PiperVoice:
    """One Piper voice: its tensors by their names there, and what its JSON file says."""

    def __init__(self, onnx: OnnxWeights, told: dict[str, Any]) -> None:
        self._onnx = onnx
        self._told = told
        self._slope = onnx.slopes[0]
        self._blocks = self._count("dec.resblocks.{}.convs.0")
        self._stages = self._count("dec.ups.{}")
        if not self._blocks or self._blocks % self._stages:
            raise ModelBroken("the voice has no decoder of the kind 'resblock 2'")

    def _count(self, name: str) -> int:
        count = 0
        while name.format(count) in self._onnx.convolutions:
            count += 1
        return count

    def _tensor(self, name: str) -> Any:
        import torch

        return torch.from_numpy(self._onnx.tensors[name].copy())

    def _weight(self, convolution: str) -> Any:
        return self._tensor(self._onnx.convolutions[convolution].weight)

    def _bias(self, convolution: str) -> Any:
        return self._tensor(f"{convolution}.bias")

    def _embedding(self) -> Any:
        (name,) = {
            name for name in self._onnx.embeddings if len(self._onnx.tensors[name].shape) == 2
        }
        return self._tensor(name)

    # What the model is.

    def config(self) -> dict[str, Any]:
        """`config.json` of a VitsModel."""
        table, relative = self._embedding(), self._tensor("enc_p.encoder.attn_layers.0.emb_rel_k")
        wide = self._weight("enc_p.encoder.ffn_layers.0.conv_1")
        kernels = self._blocks // self._stages
        inference = self._told["inference"]
        return {
            "architectures": ["VitsModel"],
            "model_type": "vits",
            "dtype": "float32",
            "id2label": {"0": self._told.get("dataset") or "default"},
            "vocab_size": table.shape[0],
            "pad_token_id": self._told["phoneme_id_map"][BLANK][0],
            "hidden_size": table.shape[1],
            "num_hidden_layers": self._count("enc_p.encoder.attn_layers.{}.conv_q"),
            "num_attention_heads": table.shape[1] // relative.shape[2],
            "window_size": relative.shape[1] // 2,
            "ffn_dim": wide.shape[0],
            "ffn_kernel_size": wide.shape[2],
            "flow_size": self._weight("enc_p.proj").shape[0] // 2,
            "prior_encoder_num_flows": self._flows(),
            "prior_encoder_num_wavenet_layers": self._count("flow.flows.0.enc.in_layers.{}"),
            "wavenet_kernel_size": self._weight("flow.flows.0.enc.in_layers.0").shape[2],
            "duration_predictor_num_flows": _DURATION_FLOWS,
            "depth_separable_num_layers": self._count("dp.convs.convs_sep.{}"),
            "duration_predictor_kernel_size": self._weight("dp.convs.convs_sep.0").shape[2],
            "duration_predictor_flow_bins": (self._weight("dp.flows.3.proj").shape[0] + 1) // 3,
            "upsample_initial_channel": 2 * self._weight("dec.conv_pre").shape[0],
            "upsample_rates": [self._stride(f"dec.ups.{i}") for i in range(self._stages)],
            "upsample_kernel_sizes": [
                self._weight(f"dec.ups.{i}").shape[2] for i in range(self._stages)
            ],
            "resblock_kernel_sizes": [
                self._weight(f"dec.resblocks.{i}.convs.0").shape[2] for i in range(kernels)
            ],
            "resblock_dilation_sizes": [self._dilations(i) for i in range(kernels)],
            "leaky_relu_slope": round(self._slope, 6),
            # Training alone needs it; a file of zeros would be a third of the model.
            "posterior_encoder_num_wavenet_layers": 0,
            "spectrogram_bins": 1,
            "sampling_rate": self._told["audio"]["sample_rate"],
            "speaking_rate": 1 / inference["length_scale"],
            "noise_scale": inference["noise_scale"],
            "noise_scale_duration": inference["noise_w"],
        }

    def _flows(self) -> int:
        count = 0
        while f"flow.flows.{2 * count}.pre" in self._onnx.convolutions:
            count += 1
        return count

    def _stride(self, convolution: str) -> int:
        return self._onnx.convolutions[convolution].stride

    def _dilations(self, block: int) -> list[int]:
        name = f"dec.resblocks.{block}.convs."
        return [
            self._onnx.convolutions[f"{name}{i}"].dilation for i in range(self._count(name + "{}"))
        ]

    # Its weights, by their names in transformers.

    def tensors(self) -> _Tensors:
        """All of the model's. Zeros where only training uses them."""
        import torch
        from transformers import VitsConfig, VitsModel

        with torch.device("meta"):
            wanted = VitsModel(VitsConfig(**self.config())).state_dict()
        found = self._text_encoder() | self._flow() | self._durations() | self._decoder()
        unknown = found.keys() - wanted.keys()
        if unknown:
            raise ModelBroken(f"the voice has a tensor that VITS has not: {min(unknown)}")
        unused = (*("post", "duration_predictor.post_"), "duration_predictor.flows.1.")
        for name, tensor in wanted.items():
            if name in found or name.startswith(unused):
                found.setdefault(name, torch.zeros(tensor.shape))
            if name not in found or found[name].shape != tensor.shape:
                raise ModelBroken(f"the voice has no tensor {name} of {tuple(tensor.shape)}")
        return found

    def _layer(
        self, name: str, convolution: str, fold: Callable[[Any], Any] | None = None
    ) -> _Tensors:
        weight = self._weight(convolution)
        return {
            f"{name}.weight": fold(weight) if fold else weight,
            f"{name}.bias": self._bias(convolution),
        }

    def _norm(self, name: str, norm: str) -> _Tensors:
        return {
            f"{name}.weight": self._tensor(f"{norm}.gamma"),
            f"{name}.bias": self._tensor(f"{norm}.beta"),
        }

    def _text_encoder(self) -> _Tensors:
        found = {"text_encoder.embed_tokens.weight": self._embedding()}
        found |= self._layer("text_encoder.project", "enc_p.proj")
        for i in range(self._count("enc_p.encoder.attn_layers.{}.conv_q")):
            layer, there = f"text_encoder.encoder.layers.{i}", "enc_p.encoder"
            for name, old in (("q_proj", "q"), ("k_proj", "k"), ("v_proj", "v"), ("out_proj", "o")):
                found |= self._layer(
                    f"{layer}.attention.{name}",
                    f"{there}.attn_layers.{i}.conv_{old}",
                    lambda weight: weight.squeeze(-1),
                )
            for name in ("emb_rel_k", "emb_rel_v"):
                found[f"{layer}.attention.{name}"] = self._tensor(f"{there}.attn_layers.{i}.{name}")
            for name in ("conv_1", "conv_2"):
                found |= self._layer(
                    f"{layer}.feed_forward.{name}", f"{there}.ffn_layers.{i}.{name}"
                )
            found |= self._norm(f"{layer}.layer_norm", f"{there}.norm_layers_1.{i}")
            found |= self._norm(f"{layer}.final_layer_norm", f"{there}.norm_layers_2.{i}")
        return found

    def _flow(self) -> _Tensors:
        found: _Tensors = {}
        for i in range(self._flows()):
            here, there = f"flow.flows.{i}", f"flow.flows.{2 * i}"
            found |= self._layer(f"{here}.conv_pre", f"{there}.pre")
            found |= self._layer(f"{here}.conv_post", f"{there}.post")
            for kind in ("in_layers", "res_skip_layers"):
                for j in range(self._count(f"{there}.enc.{kind}.{{}}")):
                    found |= self._normed(f"{here}.wavenet.{kind}.{j}", f"{there}.enc.{kind}.{j}")
        return found

    def _normed(self, name: str, convolution: str) -> _Tensors:
        """As length and direction of each filter, which is how transformers keeps these."""
        weight = self._weight(convolution)
        return {
            f"{name}.parametrizations.weight.original0": weight.norm(dim=(1, 2), keepdim=True),
            f"{name}.parametrizations.weight.original1": weight,
            f"{name}.bias": self._bias(convolution),
        }

    def _durations(self) -> _Tensors:
        here = "duration_predictor"
        found = self._layer(f"{here}.conv_pre", "dp.pre") | self._layer(
            f"{here}.conv_proj", "dp.proj"
        )
        found |= self._separable(f"{here}.conv_dds", "dp.convs")
        found[f"{here}.flows.0.translate"] = self._tensor("dp.flows.0.m")
        # The exporter kept what the scale is used as: exp(-log_scale).
        found[f"{here}.flows.0.log_scale"] = -self._tensor("/dp/flows.0/Exp_output_0").log()
        for i in range(2, _DURATION_FLOWS + 1):  # the first one is not used to speak
            flow, there = f"{here}.flows.{i}", f"dp.flows.{2 * i - 1}"
            found |= self._layer(f"{flow}.conv_pre", f"{there}.pre")
            found |= self._layer(f"{flow}.conv_proj", f"{there}.proj")
            found |= self._separable(f"{flow}.conv_dds", f"{there}.convs")
        return found

    def _separable(self, name: str, there: str) -> _Tensors:
        found: _Tensors = {}
        for i in range(self._count(f"{there}.convs_sep.{{}}")):
            found |= self._layer(f"{name}.convs_dilated.{i}", f"{there}.convs_sep.{i}")
            found |= self._layer(f"{name}.convs_pointwise.{i}", f"{there}.convs_1x1.{i}")
            found |= self._norm(f"{name}.norms_1.{i}", f"{there}.norms_1.{i}")
            found |= self._norm(f"{name}.norms_2.{i}", f"{there}.norms_2.{i}")
        return found

    def _decoder(self) -> _Tensors:
        names = ["conv_pre", *(f"ups.{i}" for i in range(self._stages))]
        for i in range(self._blocks):
            count = self._count(f"dec.resblocks.{i}.convs.{{}}")
            names += [f"resblocks.{i}.convs.{j}" for j in range(count)]
        layers = {name: (self._weight(f"dec.{name}"), self._bias(f"dec.{name}")) for name in names}
        return doubled_decoder(layers, self._tensor("dec.conv_post.weight"), self._slope)
