"""Which path is answered by whom."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from dynamo_fe.config.settings import Settings
from dynamo_fe.http import busy, docs_page, openapi, status_page, system
from dynamo_fe.http.chat import chat_completions
from dynamo_fe.http.completions import completions
from dynamo_fe.http.exchange import Exchange
from dynamo_fe.http.kserve import PREFIX, kserve
from dynamo_fe.http.services import Services

Handler: TypeAlias = Callable[[Exchange, Services], Awaitable[None]]

_READY_SUFFIX: Final = "/ready"
_KSERVE_BELOW: Final = PREFIX + "/"


@dataclass(frozen=True, slots=True)
class Route:
    """Handlers by method, in the order in which `allow` names them. `needs` is the model type that must have been
    discovered, None for none. `schema` names the request's part of the API description. `otherwise` answers all other
    methods.
    """

    handlers: dict[str, Handler]
    needs: str | None = None
    summary: str = ""
    schema: str | None = None
    otherwise: Handler | None = None

    @property
    def allow(self) -> str:
        """The methods."""
        return ",".join(self.handlers)


class Routes:
    """The table of one serving process; paths of the original can be moved by settings."""

    def __init__(self, settings: Settings) -> None:
        models = moved(settings.http_svc_models_path, "/v1/models")
        self._model_prefix = models + "/"
        self._table: dict[str, Route] = {
            moved(settings.http_svc_chat_path, "/v1/chat/completions"): Route(
                {"POST": chat_completions}, "Chat", "Create chat completion", "ChatRequest"
            ),
            moved(settings.http_svc_cmp_path, "/v1/completions"): Route(
                {"POST": completions}, "Completions", "Create text completion", "CompletionRequest"
            ),
            models: _get(system.list_models, "List the models that are served"),
            moved(settings.http_svc_health_path, "/health"): _get(system.health, "Health check"),
            moved(settings.http_svc_live_path, "/live"): _get(system.live, "Liveness check"),
            "/ready": _get(system.ready, "Readiness check, with reasons"),
            moved(settings.http_svc_metrics_path, "/metrics"): _get(system.metrics, "Prometheus metrics"),
        }
        if not settings.disable_frontend_admin_api:
            handlers: dict[str, Handler] = {
                "POST": busy.change_thresholds,
                "GET": busy.show_thresholds,
                "HEAD": busy.show_thresholds,
            }
            self._table["/busy_threshold"] = Route(handlers, summary="Thresholds of busy workers")
        if settings.grpc_only:
            # beside gRPC there is only what describes the service: models are asked there
            self._table = {path: route for path, route in self._table.items() if "GET" in route.handlers}
        kserve_off = settings.grpc_only or settings.kserve_strict
        self._kserve = None if kserve_off else Route({"GET": kserve, "HEAD": kserve, "POST": kserve}, otherwise=kserve)
        listed = {
            **self._table,
            f"{models}/{{model_id}}": _get(system.list_models, "Get one model"),
            f"{models}/{{model_id}}/ready": _get(system.list_models, "Readiness of one model"),
        }
        described = {path: (route.allow, route.summary, route.schema) for path, route in sorted(listed.items())}
        self._table["/openapi.json"] = _get(openapi.handler(described))
        self._table["/docs"] = _get(docs_page.to_page)
        page_paths = {
            "chat": "" if settings.grpc_only else moved(settings.http_svc_chat_path, "/v1/chat/completions"),
            "health": moved(settings.http_svc_health_path, "/health"),
            "metrics": moved(settings.http_svc_metrics_path, "/metrics"),
            "ready": "/ready",
        }
        for path, handler in {**docs_page.FILES, **status_page.files(page_paths)}.items():
            self._table[path] = _get(handler)

    def find(self, path: str) -> Route | None:
        """The route of a path; ids of models may contain slashes."""
        route = self._table.get(path)
        if route is None and self._kserve is not None and (path + "/").startswith(_KSERVE_BELOW):
            return self._kserve
        if route is not None or not path.startswith(self._model_prefix) or path == self._model_prefix:
            return route
        name = path[len(self._model_prefix) :]
        if name.endswith(_READY_SUFFIX) and name != _READY_SUFFIX:
            model = name.removesuffix(_READY_SUFFIX)
            return _get(lambda exchange, services: system.model_ready(exchange, services, model))
        return _get(lambda exchange, services: system.get_model(exchange, services, name))


def moved(given: str | None, usual: str) -> str:
    """The path a setting gives, with the slash in front that it may lack; the usual one where it gives none."""
    return usual if not given else "/" + given.lstrip("/")


def _get(handler: Handler, summary: str = "") -> Route:
    return Route({"GET": handler, "HEAD": handler}, summary=summary)
