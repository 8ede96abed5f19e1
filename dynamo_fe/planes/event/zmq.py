"""Dynamo 1.6.1's ZMQ event plane: every publisher binds a socket, every subscriber connects to all of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import select
from collections.abc import Callable
from typing import Any

import zmq
from zmq.utils.monitor import parse_monitor_message

from dynamo_fe.planes.event.base import EventPlane, EventPublisher, EventSink, Subscription
from dynamo_fe.planes.event.channels import ChannelRecords
from dynamo_fe.planes.event.options import ZmqEventOptions
from dynamo_fe.planes.event.wire import read_zmq, zmq_frames
from dynamo_fe.planes.host import resolve_host
from dynamo_fe.protocol.event_records import EventChannel, NatsTransport, Scope, ZmqConfig, ZmqTransport
from dynamo_fe.protocol.events import Envelope, MalformedEvent

log = logging.getLogger("dynamo_fe.planes")

# messages taken in one go before other work of the loop has its turn
_TURN_MESSAGES = 256
# turns without a message until a socket is left to its descriptor again
_QUIET_TURNS = 10
_IS_READABLE = int(zmq.POLLIN)
_RECONNECT_MS = 100
_LONGEST_RECONNECT_MS = 2000
# a host that went without a word is given up after idle + interval * count seconds
_KEEPALIVE_IDLE_SECS, _KEEPALIVE_INTERVAL_SECS, _KEEPALIVE_COUNT = 30, 10, 3


class ZmqEventPlane(EventPlane):
    """Sockets on the loop by their file descriptors; no thread of ours beside ZMQ's own."""

    transport = "zmq"

    def __init__(self, options: ZmqEventOptions, records: ChannelRecords) -> None:
        super().__init__(records)
        self._options = options
        self._host = ""
        self._busy: set[ZmqSubscription] = set()
        self._turn: asyncio.TimerHandle | None = None
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(1)

    async def start(self) -> None:
        host = resolve_host(self._options.listen_host)
        self._host = f"[{host}]" if ":" in host else host

    async def close(self) -> None:
        await super().close()
        if self._turn is not None:
            self._turn.cancel()
        self.context.destroy(linger=0)

    def _open(self, scope: Scope, topic: str, publisher_id: int, key: str) -> tuple[EventPublisher, ZmqTransport]:
        publisher = ZmqPublisher(self, publisher_id, topic, key)
        endpoint = publisher.bind(self._host, self._options.queue_messages)
        return publisher, ZmqTransport(ZmqConfig(endpoint))

    def _subscription(self, scope: Scope, topic: str, sink: EventSink) -> Subscription:
        return ZmqSubscription(self, scope, topic, sink, self._options)

    def reasons(self) -> list[str]:
        """None: each publisher is connected to by itself."""
        return []

    def look_by_the_clock(self, subscription: ZmqSubscription) -> None:
        """Something came: more will. To be woken up for every single message costs ten times what it takes to read it,
        so that the sockets of all topics are looked at together until nothing comes any more.
        """
        self._busy.add(subscription)
        if self._turn is None:
            self._turn = self._loop.call_later(self._options.gather_secs, self._look)

    def _look(self) -> None:
        self._turn = None
        left_behind = False
        for subscription in list(self._busy):
            found = subscription.take_turn()
            if found is None:
                self._busy.discard(subscription)
            left_behind = left_behind or found == _TURN_MESSAGES
        if self._busy:
            self._turn = self._loop.call_later(0.0 if left_behind else self._options.gather_secs, self._look)


class ZmqPublisher(EventPublisher):
    """A PUB socket: it never blocks, and drops for a subscriber whose queue is full."""

    def __init__(self, plane: ZmqEventPlane, publisher_id: int, topic: str, key: str) -> None:
        super().__init__(plane, publisher_id, topic, key)
        self._socket = plane.context.socket(zmq.PUB)

    def bind(self, host: str, queue_messages: int) -> str:
        """Returns the address to tell others. Raises OSError."""
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, queue_messages)
        self._socket.setsockopt(zmq.IPV6, host.startswith("["))
        self._socket.bind(f"tcp://{host}:*")
        return self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def release(self) -> None:
        self._socket.close(0)

    def send_frames(self, frames: list[bytes]) -> None:
        """One message, dropped where nobody has room for it."""
        if not self._socket.closed:
            with contextlib.suppress(zmq.Again):
                self._socket.send_multipart(frames, zmq.NOBLOCK)

    def _send(self, envelope: Envelope) -> None:
        self.send_frames(zmq_frames(envelope))


class ZmqSubscription(Subscription):
    """One SUB socket for all publishers of the topic; ZMQ keeps a bounded queue for each and connects anew for ever."""

    def __init__(
        self, plane: ZmqEventPlane, scope: Scope, topic: str, sink: EventSink, options: ZmqEventOptions
    ) -> None:
        super().__init__(plane, scope, topic, sink)
        self._loop = asyncio.get_running_loop()
        self._at: dict[str, set[int]] = {}  # publishers by address
        self._socket = plane.context.socket(zmq.SUB)
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.RCVHWM, options.queue_messages),
            (zmq.MAXMSGSIZE, options.max_message_bytes),
            (zmq.RECONNECT_IVL, _RECONNECT_MS),
            (zmq.RECONNECT_IVL_MAX, _LONGEST_RECONNECT_MS),
            (zmq.IPV6, 1),
            (zmq.TCP_KEEPALIVE, 1),
            (zmq.TCP_KEEPALIVE_IDLE, _KEEPALIVE_IDLE_SECS),
            (zmq.TCP_KEEPALIVE_INTVL, _KEEPALIVE_INTERVAL_SECS),
            (zmq.TCP_KEEPALIVE_CNT, _KEEPALIVE_COUNT),
        ):
            self._socket.setsockopt(option, value)
        self._socket.setsockopt(zmq.SUBSCRIBE, topic.encode())
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        self._loop.add_reader(self._monitor.FD, self._hear_monitor)
        self._plane: ZmqEventPlane = plane
        readable = select.poll()
        readable.register(self._socket.FD, select.POLLIN)
        self._poll = readable.poll
        self._events: Callable[[int], Any] = self._socket.get
        self._drained = False
        self._gathers = options.gather_secs > 0
        self._clocked = False
        self._quiet = 0
        self._soon_handle: asyncio.Handle | None = None
        self._loop.add_reader(self._socket.FD, self._look)
        self._soon()

    def close(self) -> None:
        if self._socket.closed:
            return
        super().close()
        self._loop.remove_reader(self._socket.FD)
        self._loop.remove_reader(self._monitor.FD)
        if self._soon_handle is not None:
            self._soon_handle.cancel()
        self._socket.disable_monitor()
        self._socket.close(0)

    def _connect(self, channel: EventChannel) -> None:
        address = _address(channel)
        known = self._at.setdefault(address, set())
        known.add(channel.instance_id)
        if len(known) > 1:
            return
        try:
            self._socket.connect(address)
        except zmq.ZMQError as error:
            log.warning("event channel at %s left out: %s", address, error)
        self._soon()

    def _disconnect(self, channel: EventChannel) -> None:
        address = _address(channel)
        known = self._at.get(address, set())
        known.discard(channel.instance_id)
        if known:
            return
        self._at.pop(address, None)
        # an address that could not be connected is not known to the socket
        with contextlib.suppress(zmq.ZMQError):
            self._socket.disconnect(address)
        self._soon()

    def _soon(self) -> None:
        """The descriptor signals changes only: whatever else used the socket may have eaten one."""
        self._drained = False
        if self._soon_handle is None:
            self._soon_handle = self._loop.call_soon(self._look_around)

    def _look_around(self) -> None:
        self._soon_handle = None
        self._look()
        if not self._socket.closed:
            self._hear_monitor()

    def _look(self) -> None:
        found = 0 if self._clocked else self._read()
        if not found or self._socket.closed:
            return
        if self._gathers:
            self._loop.remove_reader(self._socket.FD)
            self._clocked, self._quiet = True, 0
            self._plane.look_by_the_clock(self)
        elif found == _TURN_MESSAGES:
            self._soon()

    def take_now(self) -> None:
        # a drained socket's descriptor tells at a third of the cost of asking ZMQ whether anything came since
        if self._drained and not self._poll(0):
            return
        if self._clocked:
            self._read()
        else:
            self._look()

    def take_turn(self) -> int | None:
        """How many messages were taken; None when no more turn is wanted."""
        found = self._read()
        self._quiet = 0 if found else self._quiet + 1
        if self._quiet < _QUIET_TURNS and not self._socket.closed:
            return found
        self._clocked = False
        if not self._socket.closed:
            self._loop.add_reader(self._socket.FD, self._look)
            self._soon()
        return None

    def _read(self) -> int:
        """How many messages were taken."""
        socket = self._socket
        self._drained = False
        for count in range(_TURN_MESSAGES):
            # asked for first: the exception for nothing there costs as much as two messages
            if socket.closed or not self._events(zmq.EVENTS) & _IS_READABLE:
                self._drained = True
                return count
            # recv_multipart asks for an option after every frame, at 1 us
            frame = socket.recv(zmq.NOBLOCK, False)
            frames = [frame.bytes]
            while frame.more:
                frame = socket.recv(zmq.NOBLOCK, False)
                frames.append(frame.bytes)
            try:
                envelope = read_zmq(frames)
            except MalformedEvent as error:
                self._refuse_unreadable(error)
                continue
            self._deliver(envelope)
        return _TURN_MESSAGES

    def _publishers_at(self, address: str) -> list[int]:
        """ZMQ tells the address as it was given at first, and as it was resolved after a reconnection."""
        known = self._at.get(address)
        if known is not None:
            return list(known)
        port = address.rpartition(":")[2]
        return [each for place, ids in self._at.items() if place.rpartition(":")[2] == port for each in ids]

    def _hear_monitor(self) -> None:
        while True:
            try:
                heard = parse_monitor_message(self._monitor.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                return
            for publisher_id in self._publishers_at(heard["endpoint"].decode()):
                self._sink.on_joined(publisher_id)
            if self._socket.closed:
                return


def _address(channel: EventChannel) -> str:
    assert not isinstance(channel.transport, NatsTransport), "the follower lets only ZMQ channels through"
    return channel.transport.config.endpoint
