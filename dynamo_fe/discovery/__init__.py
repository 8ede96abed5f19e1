"""Membership: who serves which endpoint.

Siblings (`etcd`, `kubernetes`, `file`, `mem`) speak the verbs of `base.Discovery`.
"""
