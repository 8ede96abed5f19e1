"""Which namespaces a frontend shows."""

from __future__ import annotations

import re

import msgspec

GLOBAL_NAMESPACE = "dynamo"

_GENERATED_SUFFIX = re.compile(r"-[0-9a-f]{8}")


class NamespaceFilter(msgspec.Struct, frozen=True):
    """The options `--namespace` and `--namespace-prefix`; the prefix wins. `dynamo`, like nothing, means all of them.

    With `strict` a prefix takes only itself and itself with `-` and 8 lower-case hexadecimal digits behind it.
    """

    namespace: str | None = None
    prefix: str | None = None
    strict: bool = False

    def shows(self, namespace: str) -> bool:
        """Whether models of that namespace are shown."""
        if self.prefix:
            return self._prefix_shows(self.prefix, namespace)
        return not self.namespace or self.namespace == GLOBAL_NAMESPACE or namespace == self.namespace

    def _prefix_shows(self, prefix: str, namespace: str) -> bool:
        if prefix == GLOBAL_NAMESPACE:
            return True
        if not namespace.startswith(prefix):
            return False
        rest = namespace[len(prefix) :]
        return not self.strict or not rest or _GENERATED_SUFFIX.fullmatch(rest) is not None
