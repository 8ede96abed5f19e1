"""Request planes, siblings with the same verbs: `base` says them, `tcp` is Dynamo 1.6.1's TCP plane."""
