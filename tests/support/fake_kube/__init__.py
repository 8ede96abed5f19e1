"""A small fake Kubernetes API server, for tests that need no cluster.

    python -m tests.support.fake_kube --port 21000 --log requests.jsonl [--tls-cert c.pem --tls-key k.pem]

It serves the kinds that Dynamo's discovery uses, namespaced, from memory: list (selectors, limit and continue), watch
(selectors, resourceVersion, bookmarks, timeoutSeconds, sendInitialEvents, 410), get, create, replace, delete, merge
patch, server side apply (one that changes nothing leaves the resourceVersion) and SelfSubjectAccessReview. It plays the
controllers too: pods appear in the EndpointSlice of their Service, and with a pod go the records that it owns. What it
says follows the public API conventions and is no recording of a real API server.

Doors for tests, with JSON bodies; `tests.support.kube_server` has a verb for each:
    POST   /_ctl/pod       {"name", "namespace"?, "uid"?, "ip"?, "service", "ready": bool, "labels"?,
                            "containers"?: {name: ready}}
    POST   /_ctl/ready     {"name", "namespace"?, "ready": bool or "containers": {name: ready}, "terminating"?: bool}
    DELETE /_ctl/pod       {"name", "namespace"?, "gc_delay"?: seconds, "gc"?: bool}
    POST   /_ctl/service   {"name", "namespace"?, "labels": {..}}     labels copied onto the EndpointSlice
    PUT    /_ctl/object    {"resource", "object": {..}}               store any object as it is
    DELETE /_ctl/object    {"resource", "name", "namespace"?}
    POST   /_ctl/fault     {"match": {"verb"?, "resource"?, "path"?, "query"?, "token"?}, "action": {..}, "times"?: n}
           action: {"status": 403, "message"?, "text"?, "retry_after"?}
                   | {"hang": seconds, "then"?: action}
                   | {"reset": true}
                   | {"watch_error": 410}    200, then an ERROR event
                   | {"eof": true}           200, then the end
                   | {"raw": "line"}         200, then this line in the stream
    DELETE /_ctl/fault     clears all faults
    POST   /_ctl/rights    {"token", "rules": [..]}                   the rules of Roles that hold for this bearer token
    POST   /_ctl/tokens    {"accept": ["T1"]}                         bearer tokens accepted from now on (null: any)
    POST   /_ctl/watches   {"how": "eof"|"reset"|"error410"|"stall"|"bookmark", "resource"?}    to every open watch
    POST   /_ctl/compact   {"hard"?: bool}                            forget history: older resourceVersions get 410
    POST   /_ctl/crd       {"installed": bool}                        with false the nvidia.com group answers 404
    POST   /_ctl/bookmarks {"every": seconds or 0}
    GET    /_ctl/state
"""
