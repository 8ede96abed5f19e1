"""Membership: who serves which endpoint. Siblings (`etcd`, `file`, `mem`) speak the verbs of `base.Discovery`."""
