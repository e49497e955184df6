from __future__ import annotations

import base64
import json
import re
import struct

import numpy as np

from onebox.core.results import Output
from onebox.encoders.vectors import VectorsEncoder

USAGE = {"prompt_tokens": 3, "total_tokens": 3}
VECTORS = np.array([[0.1, -2.5e-8], [1.0, 3.4028235e38]], np.float32)


def output(form: str, vectors: np.ndarray = VECTORS) -> Output:
    return Output("vectors", {"vectors": vectors, "usage": USAGE}, options={"format": form})


def test_numbers_are_exactly_those_of_the_vectors():
    artifact = VectorsEncoder().encode(output("float"))
    body = json.loads(artifact.data)
    assert artifact.media_type == "application/json"
    assert [item["index"] for item in body["data"]] == [0, 1]
    assert {item["object"] for item in body["data"]} == {"embedding"}
    assert body["usage"] == USAGE
    read = np.array([item["embedding"] for item in body["data"]], np.float32)
    assert np.array_equal(read, VECTORS)


def test_any_number_comes_back_as_it_was():
    bits = np.random.default_rng(1).integers(0, 2**32, 200_000, np.uint32)
    bits[:1000] = np.arange(1000)  # the smallest ones
    bits[1000:2000] = 0x7F7FFFFF - np.arange(1000)  # the largest ones
    vectors = bits.view(np.float32)
    vectors = vectors[np.isfinite(vectors)][None]
    (item,) = json.loads(VectorsEncoder().encode(output("float", vectors)).data)["data"]
    assert np.array_equal(np.array(item["embedding"]).astype(np.float32), vectors[0])


def test_numbers_have_no_more_digits_than_they_need():
    vectors = np.random.default_rng(1).normal(size=(100, 384)).astype(np.float32)
    body = VectorsEncoder().encode(output("float", vectors)).data
    numbers = re.findall(rb"-?[0-9]\.[0-9]+", body)
    assert len(numbers) > vectors.size * 0.99
    assert max(len(number.lstrip(b"-0.")) for number in numbers) <= 10  # a point and nine digits


def test_base64_is_little_endian_float32():
    body = json.loads(VectorsEncoder().encode(output("base64")).data)
    raw = base64.b64decode(body["data"][0]["embedding"])
    assert struct.unpack("<2f", raw) == tuple(VECTORS[0].tolist())


def test_only_a_few_numbers_are_written_on_the_engine_s_thread():
    assert VectorsEncoder().is_quick(output("float", np.zeros((1, 384), np.float32)))
    assert not VectorsEncoder().is_quick(output("float", np.zeros((64, 384), np.float32)))
