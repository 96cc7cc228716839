"""What Haystack expects of every component that embeds: warming up, sharing, closing, asyncio, threads."""

from __future__ import annotations

import asyncio
import gc
from concurrent.futures import ThreadPoolExecutor

import haystack
import pytest
from haystack import Document, Pipeline
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.document_stores.in_memory import InMemoryDocumentStore

from fastrag_quant import QuantizedEmbedder, shared
from fastrag_quant.components import (
    QuantizedBiEncoderRanker,
    QuantizedBiEncoderRetriever,
    QuantizedDocumentEmbedder,
    QuantizedTextEmbedder,
)
from fastrag_quant.errors import InputError

QUERY = "How do I throw an exception?"


@pytest.fixture
def loads(monkeypatch):
    """The list to which the model of every loaded embedder is appended."""
    loaded = []

    class Counted(QuantizedEmbedder):
        def _load(self, config, kind=None):
            loaded.append(config.model)
            super()._load(config, kind)

    monkeypatch.setattr(shared, "QuantizedEmbedder", Counted)
    return loaded


@pytest.fixture
def components(tiny, documents):
    """One of each component on the tiny model, with prefixes of its own, and what to run it on."""
    store = InMemoryDocumentStore()
    store.write_documents([Document(content="if", embedding=[0.5] * 32)])
    return [
        (QuantizedTextEmbedder(**tiny, prefix="for "), {"text": QUERY}),
        (QuantizedDocumentEmbedder(**tiny, prefix="class ", batch_size=2), {"documents": documents}),
        (QuantizedBiEncoderRanker(**tiny, query_prefix="if "), {"query": QUERY, "documents": documents}),
        (QuantizedBiEncoderRetriever(**tiny, retriever=InMemoryEmbeddingRetriever(store)), {"query": QUERY}),
    ]


def test_constructing_them_loads_nothing_and_all_share_one_model(loads, components, tiny):
    assert loads == []

    for component, inputs in components:
        component.run(**inputs)

    assert loads == [tiny["model"]]
    assert len({id(component._loaded()) for component, _ in components}) == 1


def test_warm_up_again_does_nothing(loads, components, shapes_of):
    for component, _ in components:
        component.warm_up()
    loads.clear()
    shapes = shapes_of(components[0][0]._loaded())

    for component, _ in components:
        component.warm_up()

    assert (loads, shapes) == ([], [])


def test_warm_up_compiles_the_shapes_of_single_queries(components, shapes_of):
    text_embedder = components[0][0]
    text_embedder._loaded()
    shapes = shapes_of(text_embedder._loaded())
    ranker = components[2][0]

    ranker.warm_up()

    assert {rows for rows, _ in shapes} == {1}
    assert max(length for _, length in shapes) == 64


def test_run_async_gives_what_run_gives(components):
    for component, inputs in components:
        assert asyncio.run(component.run_async(**inputs)) == component.run(**inputs)


def test_fifty_runs_of_each_on_an_event_loop_load_once_and_give_what_single_runs_give(loads, components):
    runs = [
        (component, {name: f"{given} {number}" if isinstance(given, str) else given for name, given in inputs.items()})
        for number in range(50)
        for component, inputs in components
    ]

    async def all_at_once():
        return await asyncio.gather(*(component.run_async(**inputs) for component, inputs in runs))

    results = asyncio.run(all_at_once())

    assert len(loads) == 1
    assert results == [component.run(**inputs) for component, inputs in runs]


def test_an_error_of_one_run_on_an_event_loop_reaches_no_other(components):
    text_embedder, inputs = components[0]
    expected = text_embedder.run(**inputs)

    async def all_at_once():
        bad = [text_embedder.run_async("\ud800") for _ in range(25)]
        good = [text_embedder.run_async(**inputs) for _ in range(25)]
        return await asyncio.gather(*bad, *good, return_exceptions=True)

    results = asyncio.run(all_at_once())

    assert {type(error) for error in results[:25]} == {InputError}
    assert results[25:] == [expected] * 25


def test_a_pipeline_on_an_event_loop_runs_them_there(components):
    pipeline = getattr(haystack, "AsyncPipeline", Pipeline)()  # Haystack 3 has one class for both
    for name, (component, _) in zip(("text", "documents", "ranker", "retriever"), components, strict=True):
        pipeline.add_component(name, component)
    given = dict(zip(pipeline.graph.nodes, (inputs for _, inputs in components), strict=True))

    results = asyncio.run(pipeline.run_async(given))

    assert all(component.__haystack_supports_async__ for component, _ in components)
    alone = [component.run(**inputs) for component, inputs in components]
    assert results == dict(zip(pipeline.graph.nodes, alone, strict=True))


def test_run_async_leaves_the_event_loop_free(components, monkeypatch):
    component, inputs = components[1]
    component.warm_up()
    ticks = []

    async def tick():
        while True:
            ticks.append(None)
            await asyncio.sleep(0)

    async def both():
        ticking = asyncio.create_task(tick())
        await component.run_async(**inputs)
        ticking.cancel()

    asyncio.run(both())

    assert len(ticks) > 2


def test_concurrent_runs_give_what_single_runs_give(components):
    runs = [(component, inputs) for component, inputs in components for _ in range(8)]
    expected = [component.run(**inputs) for component, inputs in runs]
    for component, _ in components:
        component.close()
    gc.collect()

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda run: run[0].run(**run[1]), runs))

    assert results == expected


def test_a_closed_component_runs_again(loads, components):
    expected = [component.run(**inputs) for component, inputs in components]
    for component, _ in components:
        component.close()
        component.close()
    gc.collect()
    loads.clear()

    assert [component.run(**inputs) for component, inputs in components] == expected
    assert len(loads) == 1


def test_closing_one_leaves_the_model_to_the_others(loads, components):
    (text_embedder, text), (document_embedder, _), *_ = components
    expected = text_embedder.run(**text)
    document_embedder.warm_up()
    loads.clear()

    document_embedder.close()
    gc.collect()

    assert text_embedder.run(**text) == expected
    assert loads == []


def test_the_retrievers_own_resources_are_warmed_up_and_closed(tiny):
    calls = []

    class Retriever:
        def run(self, query_embedding, filters=None, top_k=None):
            return {"documents": []}

        def warm_up(self):
            calls.append("warm_up")

        def close(self):
            calls.append("close")

    retriever = QuantizedBiEncoderRetriever(**tiny, retriever=Retriever())

    retriever.warm_up()
    retriever.close()

    assert calls == ["warm_up", "close"]


def test_two_pipelines_of_one_process_share_a_model(loads, tiny):
    def pipeline():
        pipeline = Pipeline()
        pipeline.add_component("embedder", QuantizedDocumentEmbedder(**tiny))
        return pipeline

    first, second = pipeline(), pipeline()

    for one in (first, second):
        assert one.run({"documents": [Document(content="if")]})["embedder"]["documents"]
    assert len(loads) == 1
