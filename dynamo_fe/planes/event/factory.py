"""Chooses the event plane by name and imports only that one."""

from __future__ import annotations

from dataclasses import replace

from dynamo_fe.config.settings import Settings
from dynamo_fe.planes.event.base import EventPlane
from dynamo_fe.planes.event.channels import ChannelRecords
from dynamo_fe.planes.event.options import NatsEventOptions, ZmqEventOptions
from dynamo_fe.planes.nats_settings import nats_access


def open_event_plane(settings: Settings, records: ChannelRecords, gather_secs: float | None = None) -> EventPlane:
    """The plane that the settings name, not started yet; `gather_secs` is for ZMQ, None: as usual.

    Raises ValueError for what can never work, in one line.
    """
    if settings.event_plane == "nats":
        access = nats_access(settings)
        return make_event_plane(
            NatsEventOptions(connect_timeout_secs=settings.tcp_connect_timeout_secs, **access), records
        )
    options = ZmqEventOptions(listen_host=settings.tcp_response_stream_host)
    return make_event_plane(options if gather_secs is None else replace(options, gather_secs=gather_secs), records)


def make_event_plane(options: ZmqEventOptions | NatsEventOptions, records: ChannelRecords) -> EventPlane:
    """The plane that these options are for."""
    if isinstance(options, NatsEventOptions):
        from dynamo_fe.planes.event.nats import NatsEventPlane

        return NatsEventPlane(options, records)
    from dynamo_fe.planes.event.zmq import ZmqEventPlane

    return ZmqEventPlane(options, records)
