"""Event planes, siblings with the same verbs: `base` says them, `zmq` and `nats` are Dynamo 1.6.1's."""
