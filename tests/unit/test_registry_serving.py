"""The registry over discovery in memory and a loader that the test holds in its hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from dynamo_fe.discovery.base import DiscoveryStatus
from dynamo_fe.discovery.mem import MemDiscovery, MemStore
from dynamo_fe.models.errors import CardError
from dynamo_fe.models.namespaces import NamespaceFilter
from dynamo_fe.models.registry import ModelRegistry
from dynamo_fe.models.served import ServedModel
from dynamo_fe.protocol.card import ModelCard
from tests.support.records import WorkerRecords


class FakeTokenizer:
    """Knows only whether it was closed."""

    closed = False

    def close(self) -> None:
        self.closed = True


class Bench:
    """A store, a registry that follows it, and what the registry did."""

    def __init__(self, **options: Any) -> None:
        self.store = MemStore()
        self.discovery = MemDiscovery(self.store)
        self.loads: list[ModelCard] = []
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.tokenizers: list[FakeTokenizer] = []
        self.removed: list[int] = []
        self._news = asyncio.Condition()
        self._stirred: set[asyncio.Task[None]] = set()
        namespaces = options.pop("namespaces", NamespaceFilter())
        self.registry = ModelRegistry(
            self.discovery, self.load, namespaces, self.removed.append, on_change=self._stir, **options
        )

    async def load(self, card: ModelCard) -> ServedModel:
        self.loads.append(card)
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        tokenizer: Any = FakeTokenizer()
        self.tokenizers.append(tokenizer)
        return ServedModel(card.display_name, card, "sum", 0, [], None, tokenizer)

    def register(self, *workers: WorkerRecords) -> None:
        for worker in workers:
            self.store.put(worker.card_key, worker.card)
            self.store.put(worker.instance_key, worker.instance)

    def ids(self, name: str = "tiny") -> list[set[int]]:
        return sorted((set(found.instances) for found in self.registry.find(name)), key=sorted)

    def names(self) -> set[str]:
        return set(self.registry.listing())

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10), self._news:
            await self._news.wait_for(holds)

    async def settled(self) -> None:
        """Until what was put so far has been taken in: a marker record goes through the same queues."""
        marker = WorkerRecords(99, model="marker", namespace="marker", model_input="Other")
        self.register(marker)
        await self.until(lambda: any(item[0].namespace == "marker" for item in self.registry.instances()))
        await self.until(lambda: self.registry.known("marker"))
        self.store.delete(marker.instance_key)
        self.store.delete(marker.card_key)
        await self.until(lambda: not any(item[0].namespace == "marker" for item in self.registry.instances()))
        await self.until(lambda: not self.registry.known("marker"))

    def _stir(self) -> None:
        async def tell() -> None:
            async with self._news:
                self._news.notify_all()

        task = asyncio.get_running_loop().create_task(tell())
        self._stirred.add(task)
        task.add_done_callback(self._stirred.discard)


MakeBench = Callable[..., Bench]


@pytest.fixture
async def make_bench() -> AsyncIterator[MakeBench]:
    running: list[tuple[Bench, asyncio.Task[None]]] = []

    def make(**options: Any) -> Bench:
        bench = Bench(**options)
        running.append((bench, asyncio.create_task(bench.registry.run())))
        return bench

    yield make
    for bench, task in running:
        await bench.registry.close()
        await task


async def test_card_and_instance_together_are_served(make_bench: MakeBench) -> None:
    bench, worker = make_bench(), WorkerRecords(1)
    bench.store.put(worker.card_key, worker.card)
    await bench.until(lambda: bench.registry.known("tiny"))
    await bench.until(lambda: bench.registry.reasons() == ["model tiny (ns/backend/generate): no live instance"])
    assert bench.registry.find("tiny") == []
    assert bench.registry.models() == []
    bench.store.put(worker.instance_key, worker.instance)
    await bench.until(lambda: bench.ids() == [{1}])
    (found,) = bench.registry.find("tiny")
    assert (found.model, found.namespace, found.component, found.endpoint) == ("tiny", "ns", "backend", "generate")
    assert found.instances[1].host == "192.0.2.2"
    assert [served.name for served in bench.registry.models()] == ["tiny"]
    assert bench.registry.reasons() == []


async def test_the_instance_must_have_the_cards_id_and_endpoint(make_bench: MakeBench) -> None:
    bench, worker, other = make_bench(), WorkerRecords(1), WorkerRecords(2)
    bench.store.put(worker.card_key, worker.card)
    bench.store.put(other.instance_key, other.instance)
    source = WorkerRecords(1)
    key = source.instance_key.replace("generate", "worker_kv_query_source_1")
    bench.store.put(key, source.instance.replace(b'"generate"', b'"worker_kv_query_source_1"'))
    await bench.until(lambda: len(bench.registry.instances()) == 2)
    await bench.until(lambda: bench.registry.known("tiny"))
    assert bench.names() == set()


async def test_a_removed_instance_is_told_at_once_whichever_record_went_first(make_bench: MakeBench) -> None:
    bench, first, second = make_bench(), WorkerRecords(1), WorkerRecords(2)
    bench.register(first, second)
    await bench.until(lambda: bench.ids() == [{1, 2}])
    bench.store.delete(first.instance_key)
    bench.store.delete(second.card_key)
    await bench.until(lambda: bench.ids() == [])
    bench.store.delete(second.instance_key)
    await bench.until(lambda: bench.registry.instances() == [])
    assert bench.removed == [1, 2]
    assert bench.registry.known("tiny")
    bench.store.delete(first.card_key)
    await bench.until(lambda: not bench.registry.known("tiny"))


async def test_an_instance_that_moves_is_told(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.register(WorkerRecords(1, port=5000))
    await bench.until(lambda: bench.ids() == [{1}])
    bench.register(WorkerRecords(1, port=6000))
    await bench.until(lambda: bench.removed == [1])
    assert bench.registry.find("tiny")[0].instances[1].port == 6000


async def test_a_remembered_dict_of_instances_never_changes(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.register(WorkerRecords(1))
    await bench.until(lambda: bench.ids() == [{1}])
    (found,) = bench.registry.find("tiny")
    remembered = found.instances
    bench.register(WorkerRecords(2))
    await bench.until(lambda: bench.ids() == [{1, 2}])
    assert set(remembered) == {1}
    assert bench.registry.find("tiny") == [found]


async def test_the_same_card_is_loaded_once_and_let_go_with_the_last(make_bench: MakeBench) -> None:
    bench = make_bench()
    workers = [WorkerRecords(number) for number in (1, 2, 3)]
    bench.register(*workers, WorkerRecords(9, namespace="other"))
    await bench.until(lambda: bench.ids() == [{1, 2, 3}, {9}])
    assert len(bench.loads) == 1
    for worker in [*workers, WorkerRecords(9, namespace="other")]:
        assert not bench.tokenizers[0].closed
        bench.store.delete(worker.instance_key)
        bench.store.delete(worker.card_key)
        await bench.settled()
    assert bench.tokenizers[0].closed


async def test_another_behaviour_is_another_loaded_model(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.register(
        WorkerRecords(1, namespace="a", runtime_config={"total_kv_blocks": 5, "reasoning_parser": "qwen3"}),
        WorkerRecords(2, namespace="b", runtime_config={"total_kv_blocks": 6, "reasoning_parser": "qwen3"}),
        WorkerRecords(3, namespace="c", runtime_config={"reasoning_parser": "basic"}),
    )
    await bench.until(lambda: bench.ids() == [{1}, {2}, {3}])
    parsers = [found.served.card.runtime_config.reasoning_parser for found in bench.registry.find("tiny")]
    assert sorted(str(name) for name in parsers) == ["basic", "qwen3", "qwen3"]
    assert len(bench.loads) == 2


async def test_loading_does_not_hold_up_what_is_served(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.register(WorkerRecords(1))
    await bench.until(lambda: bench.ids() == [{1}])
    bench.gate.clear()
    bench.register(WorkerRecords(2), WorkerRecords(3, model="slow", kv_cache_block_size=16))
    await bench.until(lambda: bench.ids() == [{1, 2}])
    await bench.until(lambda: bench.registry.reasons() == ["model slow (ns/backend/generate): loading"])
    bench.gate.set()
    await bench.until(lambda: bench.names() == {"tiny", "slow"})


async def test_a_model_that_goes_while_it_loads_is_let_go(make_bench: MakeBench) -> None:
    bench, worker = make_bench(), WorkerRecords(1)
    bench.gate.clear()
    bench.register(worker)
    await bench.until(lambda: len(bench.loads) == 1)
    bench.store.delete(worker.card_key)
    await bench.until(lambda: not bench.registry.known("tiny"))
    bench.gate.set()
    await bench.settled()
    assert bench.names() == set()
    assert all(tokenizer.closed for tokenizer in bench.tokenizers)


async def test_a_failed_load_is_a_reason_and_a_new_record_tries_again(
    make_bench: MakeBench, caplog: pytest.LogCaptureFixture
) -> None:
    bench = make_bench()
    bench.failure = CardError("no tokenizer.json")
    bench.register(WorkerRecords(1))
    await bench.until(lambda: "model tiny (ns/backend/generate): no tokenizer.json" in bench.registry.reasons())
    bench.register(WorkerRecords(2))
    await bench.until(lambda: len(bench.loads) == 2)
    await bench.settled()
    assert sum("no tokenizer.json" in entry.message for entry in caplog.records) == 1
    assert bench.names() == set()
    assert bench.registry.known("tiny")
    bench.failure = None
    bench.register(WorkerRecords(1))
    await bench.until(lambda: bench.ids() == [{1, 2}])
    assert bench.registry.reasons() == []


async def test_a_worker_with_another_checksum_is_rejected_until_the_others_have_gone(
    make_bench: MakeBench, caplog: pytest.LogCaptureFixture
) -> None:
    bench = make_bench()
    old, new = WorkerRecords(1), WorkerRecords(2, kv_cache_block_size=16)
    bench.register(old)
    await bench.until(lambda: bench.ids() == [{1}])
    bench.register(new)
    await bench.settled()
    assert bench.ids() == [{1}]
    (reason,) = bench.registry.reasons()
    assert reason.startswith("model tiny (ns/backend/generate): 1 worker rejected: another checksum: ")
    assert reason.endswith("KV blocks of 16 tokens, the others' have 64")
    assert sum("Rejected incompatible workers" in entry.message for entry in caplog.records) == 1
    bench.store.delete(old.instance_key)
    bench.store.delete(old.card_key)
    await bench.until(lambda: bench.ids() == [{2}])
    assert bench.registry.find("tiny")[0].served.card.kv_cache_block_size == 16


async def test_different_checksums_may_live_in_different_namespaces(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.register(WorkerRecords(1, namespace="a"), WorkerRecords(2, namespace="b", kv_cache_block_size=16))
    await bench.until(lambda: bench.ids() == [{1}, {2}])


async def test_only_shown_namespaces_are_served_but_all_instances_are_told(make_bench: MakeBench) -> None:
    bench = make_bench(namespaces=NamespaceFilter(prefix="a"))
    bench.register(WorkerRecords(1, namespace="ab"), WorkerRecords(2, model="other", namespace="b"))
    await bench.until(lambda: bench.ids() == [{1}])
    await bench.until(lambda: len(bench.registry.instances()) == 2)
    assert not bench.registry.known("other")
    records = {instance.instance_id: raw for instance, raw in bench.registry.instances()}
    assert records == {1: WorkerRecords(1, namespace="ab").instance, 2: WorkerRecords(2, namespace="b").instance}


async def test_aliases_are_listed_and_served_as_the_primary(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.register(WorkerRecords(1, aliases=["small", "mini"]))
    await bench.until(lambda: bench.names() == {"tiny", "small", "mini"})
    assert bench.registry.known("mini")
    assert [found.model for found in bench.registry.find("mini")] == ["tiny"]
    assert [served.name for served in bench.registry.models()] == ["tiny"]


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ({"model_input": "Other"}, "model input 'Other' is not supported yet by this version"),
        ({"model_type": "Embedding"}, "model type 'Embedding' is not supported yet by this version"),
        ({"worker_type": "prefill", "model_type": ""}, "worker type 'prefill' is not supported yet by this version"),
        ({"worker_type": "decode", "needs": [["prefill"]]}, "worker type 'decode' is not supported yet"),
    ],
)
async def test_what_cannot_be_served_is_refused_with_the_reason(
    make_bench: MakeBench, card: dict[str, Any], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench = make_bench()
    bench.register(WorkerRecords(1, **card), WorkerRecords(2, **card))
    await bench.until(lambda: len(bench.registry.instances()) == 2)
    await bench.until(lambda: bench.registry.known("tiny"))
    await bench.settled()
    (reason,) = bench.registry.reasons()
    assert reason.startswith(f"model tiny: {words}")
    assert bench.names() == set()
    assert bench.loads == []
    assert sum(f"model tiny is not served: {words}" in entry.message for entry in caplog.records) == 1


async def test_worker_type_null_is_served(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.register(WorkerRecords(1, worker_type=None))
    await bench.until(lambda: bench.ids() == [{1}])


async def test_broken_records_are_reasons_and_harm_nobody(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.store.put("v1/mdc/ns/backend/generate/7", b"{")
    bench.store.put("v1/mdc/ns/backend/generate/9", WorkerRecords(9, model="minus", context_length=-1).card)
    bench.store.put("v1/mdc/ns/backend/generate/8", WorkerRecords(1, model="liar").card)
    bench.store.put("v1/instances/ns/backend/generate/7", b"[]")
    bench.register(WorkerRecords(1), WorkerRecords(2, model="nats", nats=True))
    await bench.until(lambda: bench.ids() == [{1}])
    await bench.settled()
    reasons = "\n".join(bench.registry.reasons())
    assert "record v1/mdc/ns/backend/generate/7: the record cannot be read" in reasons
    assert "model minus: the card has no checksum" in reasons
    assert "model liar: the record belongs to v1/mdc/ns/backend/generate/1" in reasons
    assert "instance v1/instances/ns/backend/generate/7:" in reasons
    assert "transport nats is not supported yet" in reasons
    assert bench.names() == {"tiny"}
    bench.store.delete("v1/instances/ns/backend/generate/7")
    await bench.settled()
    assert "instance v1/instances/ns/backend/generate/7:" not in "\n".join(bench.registry.reasons())


async def test_models_of_namespaces_left_out_are_no_secret(make_bench: MakeBench) -> None:
    bench = make_bench(namespaces=NamespaceFilter(namespace="here"))
    workers = [WorkerRecords(number, namespace=name) for number, name in enumerate(("there", "there", "far"), 1)]
    for worker in workers:
        bench.store.put(worker.card_key, worker.card)
    nothing = "no model is registered in discovery"
    await bench.until(
        lambda: bench.registry.reasons() == [f"{nothing}, but in namespaces that are left out: far, there"]
    )
    for worker in workers:
        bench.store.delete(worker.card_key)
    await bench.until(lambda: bench.registry.reasons() == [nothing])


async def test_reasons_speak_of_discovery_first(make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = make_bench()
    await bench.until(lambda: bench.registry.reasons() == ["no model is registered in discovery"])
    away = DiscoveryStatus("etcd", False, 5.0, "127.0.0.1:2379: connection refused")
    monkeypatch.setattr(bench.discovery, "status", lambda: away)
    assert bench.registry.reasons()[0] == "discovery (etcd) is not connected: 127.0.0.1:2379: connection refused"


async def test_an_adapter_shares_the_files_and_the_checksum_of_its_base(make_bench: MakeBench) -> None:
    bench = make_bench()
    base, adapter = WorkerRecords(1), WorkerRecords(1, adapter="ad1")
    bench.store.put(adapter.card_key, adapter.card)
    bench.store.put(base.instance_key, base.instance)
    await bench.until(lambda: bench.names() == {"ad1"})
    alone = bench.registry.find("ad1")[0].served.mdc_sum
    bench.store.put(base.card_key, base.card)
    await bench.until(lambda: bench.names() == {"ad1", "tiny"})
    served = {name: bench.registry.find(name)[0].served for name in ("ad1", "tiny")}
    assert served["ad1"].mdc_sum == served["tiny"].mdc_sum != alone
    assert served["ad1"].card.lora == {"name": "ad1"}
    assert served["ad1"].tokenizer is served["tiny"].tokenizer
    assert len(bench.loads) == 1
    bench.store.delete(base.card_key)
    await bench.until(lambda: bench.names() == {"ad1"})
    assert not bench.tokenizers[0].closed
    bench.store.delete(base.instance_key)
    await bench.until(lambda: bench.names() == set())
    assert bench.removed == [1]


async def test_a_set_waits_for_the_workers_it_needs(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.register(WorkerRecords(1, needs=[["encode"]]))
    missing = "model tiny (ns/backend/generate): missing worker types: encode"
    await bench.until(lambda: bench.registry.reasons() == [missing])
    assert bench.registry.readiness("tiny") == {
        "model": "tiny",
        "ready": False,
        "reason": "no namespace has all required worker types live",
        "namespaces": {
            "ns": {
                "ready": False,
                "reason": "missing worker types: encode",
                "worker_types": {"aggregated": {"workers": 1, "needs": [["encode"]]}},
                "present": ["aggregated"],
                "missing_worker_types": ["encode"],
            }
        },
    }
    bench.register(WorkerRecords(2, worker_type="encode", model_type="", needs=[["aggregated"]]))
    await bench.until(lambda: bench.ids() == [{1}])
    readiness = bench.registry.readiness("tiny")
    assert readiness is not None and readiness["ready"]
    assert bench.registry.readiness("nobody") is None


async def test_stages_that_cannot_be_served_are_not_ready(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.register(WorkerRecords(1, worker_type="decode", needs=[["prefill"]]))
    bench.register(WorkerRecords(2, worker_type="prefill", model_type="", needs=[["decode"]]))
    await bench.until(lambda: len(bench.registry.instances()) == 2 and bench.registry.known("tiny"))
    await bench.settled()
    readiness = bench.registry.readiness("tiny")
    assert readiness is not None and not readiness["ready"]
    assert readiness["namespaces"]["ns"]["present"] == ["decode", "prefill"]
    assert "not supported yet" in readiness["namespaces"]["ns"]["reason"]


async def test_rejected_workers_do_not_count(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.register(WorkerRecords(1))
    await bench.until(lambda: bench.ids() == [{1}])
    bench.register(WorkerRecords(2, kv_cache_block_size=16))
    await bench.settled()
    readiness = bench.registry.readiness("tiny")
    assert readiness is not None
    assert readiness["namespaces"]["ns"]["worker_types"]["aggregated"]["workers"] == 1


async def test_a_request_is_prepared_for_the_namespaces_by_their_workers(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.register(
        *(WorkerRecords(number, namespace="a") for number in range(1, 10)),
        WorkerRecords(10, namespace="b", kv_cache_block_size=16, model_type="Chat"),
    )
    await bench.until(lambda: sum(map(len, bench.ids())) == 10)
    small = [entry.served for entry in bench.registry.find("tiny") if entry.namespace == "b"][0]
    drawn = [bench.registry.choose("tiny", "Chat", None) for _ in range(1000)]
    # 100 expected, with a standard deviation of 9.5
    assert 50 < sum(model is small for model in drawn) < 150
    assert bench.registry.choose("tiny", "Chat", 10) is small
    assert all(bench.registry.choose("tiny", "Completions", None) is not small for _ in range(50))
    assert bench.registry.choose("tiny", "Embedding", None) is None
    assert bench.registry.choose("nobody", "Chat", None) is None


async def test_who_asks_while_a_model_is_loaded_waits_for_it(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.gate.clear()
    bench.register(WorkerRecords(1, aliases=["other"]))
    await bench.until(lambda: bool(bench.loads))
    asked = [asyncio.create_task(bench.registry.loaded(name)) for name in ("tiny", "other")]
    await asyncio.sleep(0)
    assert not any(task.done() for task in asked)
    bench.gate.set()
    await asyncio.gather(*asked)
    assert bench.ids() == [{1}] and bench.ids("other") == [{1}]


async def test_nobody_waits_for_what_is_not_being_loaded(make_bench: MakeBench) -> None:
    bench, worker = make_bench(), WorkerRecords(1)
    bench.gate.clear()
    bench.store.put(worker.card_key, worker.card)
    await bench.until(lambda: bool(bench.loads))
    # a worker that is not there, a model of which nobody knows
    await bench.registry.loaded("tiny")
    await bench.registry.loaded("nobody")
    bench.store.put(worker.instance_key, worker.instance)
    await bench.settled()
    asked = asyncio.create_task(bench.registry.loaded("tiny"))
    await asyncio.sleep(0)
    assert not asked.done()
    bench.failure = CardError("no such file")
    bench.gate.set()
    await asked
    # one that failed is tried again, but not waited for
    await bench.registry.loaded("tiny")
    assert bench.ids() == []


async def test_a_load_that_takes_long_is_waited_for_no_longer(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynamo_fe.models.registry.LOAD_WAIT_SECS", 0.01)
    bench = make_bench()
    bench.gate.clear()
    bench.register(WorkerRecords(1))
    await bench.until(lambda: bool(bench.loads))
    await bench.registry.loaded("tiny")
    assert bench.ids() == []
    bench.gate.set()
