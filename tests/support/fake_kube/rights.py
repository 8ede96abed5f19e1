"""Roles, as far as the fake API server knows them: rules by bearer token, and what they allow."""

from __future__ import annotations

from tests.support.fake_kube.objects import Object

Rules = list[Object]


class Rights:
    """Whoever has no rules of his own may do everything."""

    def __init__(self) -> None:
        self._rules_of: dict[str, Rules] = {}

    def grant(self, token: str, rules: Rules) -> None:
        """From now on exactly the `rules` of Roles (apiGroups, resources, verbs) hold for the token."""
        self._rules_of[token] = rules

    def allowed(self, token: str, group: str | None, resource: str | None, verb: str) -> bool:
        rules = self._rules_of.get(token)
        return rules is None or any(
            group in rule["apiGroups"] and resource in rule["resources"] and verb in rule["verbs"] for rule in rules
        )

    def review(self, token: str, review: Object) -> Object:
        """The answer to a SelfSubjectAccessReview."""
        asked = review["spec"]["resourceAttributes"]
        allowed = self.allowed(token, asked.get("group", ""), asked.get("resource"), asked["verb"])
        return review | {"status": {"allowed": allowed}}
