//! What is answered to whom.

use std::{sync::Arc, time::SystemTime};

use axum::{
    Router,
    extract::{Request, State as Extract},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode,
        header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE},
    },
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use maud::{DOCTYPE, html};

use super::{auth::Auth, source::Source, web_config::WebConfig};
use crate::{render::metrics::Format, snapshot::HookState};

/// What the answers are made from.
pub(super) struct State {
    source: Source,
    web: Arc<WebConfig>,
    auth: Auth,
}

impl State {
    pub(super) fn new(source: Source, web: Arc<WebConfig>) -> Self {
        Self {
            source,
            web,
            auth: Auth::default(),
        }
    }
}

/// All pages, behind the password where there is one.
pub(super) fn router(state: Arc<State>) -> Router {
    Router::new()
        .route("/", get(front))
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { text(StatusCode::OK, "ok\n") }))
        .route("/readyz", get(ready))
        .fallback(|| async {
            text(
                StatusCode::NOT_FOUND,
                "nothing is here; metrics are at /metrics\n",
            )
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&state), guard))
        .with_state(state)
}

fn text(status: StatusCode, body: impl Into<String>) -> Response {
    (
        status,
        [(CONTENT_TYPE, "text/plain; charset=utf-8")],
        body.into(),
    )
        .into_response()
}

async fn guard(Extract(state): Extract<Arc<State>>, request: Request, next: Next) -> Response {
    let web = state.web.now();
    let mut response = if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        response
    } else if state.auth.allows(&web.users, request.headers()).await {
        next.run(request).await
    } else {
        let mut response = text(StatusCode::UNAUTHORIZED, "a password is needed\n");
        response.headers_mut().insert(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Basic realm=\"pinscope\""),
        );
        response
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in &web.headers {
        headers.insert(name.clone(), value.clone());
    }
    response
}

async fn metrics(Extract(state): Extract<Arc<State>>, headers: HeaderMap) -> Response {
    // Several headers are one list (RFC 9110, section 5.3).
    let accept: Vec<&str> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .collect();
    let format = Format::wanted(&accept.join(","));
    let body = match state.source.reading().await {
        Ok(reading) => reading.encoded(format),
        Err(why) => Err(why),
    };
    match body {
        Ok(bytes) => ([(CONTENT_TYPE, format.content_type())], bytes).into_response(),
        Err(why) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{why}\n")),
    }
}

/// Ready as long as the counters can be read; what is degraded stands below.
async fn ready(Extract(state): Extract<Arc<State>>) -> Response {
    match state.source.reading().await {
        Ok(reading) => {
            let mut body = "ready\n".to_owned();
            for hook in &reading.hooks {
                let why = hook.reason.as_deref();
                if hook.state != HookState::Active {
                    let (state, why) = (hook.state.name(), why.unwrap_or("no reason is known"));
                    body.push_str(&format!("{} is {state}: {why}\n", hook.name));
                } else if let Some(why) = why {
                    body.push_str(&format!("{} is active, but weaker: {why}\n", hook.name));
                }
            }
            text(StatusCode::OK, body)
        }
        Err(why) => text(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {why}\n"),
        ),
    }
}

async fn front(Extract(state): Extract<Arc<State>>) -> Response {
    let reading = state.source.reading().await;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { "pinscope" }
                style { "body{font:1em/1.5 system-ui,sans-serif;margin:2em;max-width:50em}"
                        ":root{color-scheme:light dark}td{padding-right:1em}" }
            }
            body {
                h1 { "pinscope " (env!("CARGO_PKG_VERSION")) }
                p { "Memory that reclaim unmapped in vain because somebody holds it." }
                ul {
                    li { a href="/metrics" { "/metrics" } " for Prometheus" }
                    li { a href="/readyz" { "/readyz" } ": whether it counts, and what is degraded" }
                    li { a href="/healthz" { "/healthz" } ": whether it lives" }
                }
                @match &reading {
                    Ok(reading) => {
                        h2 { "Hooks" }
                        table {
                            @for hook in &reading.hooks {
                                tr {
                                    td { (hook.name) } td { (hook.state.name()) }
                                    td { (hook.reason.as_deref().unwrap_or("")) }
                                }
                            }
                        }
                        p { "Read " (humantime::format_rfc3339_seconds(reading.at.max(SystemTime::UNIX_EPOCH)).to_string()) }
                    }
                    Err(why) => p { strong { "The counters can't be read: " (why) } }
                }
            }
        }
    };
    (
        [(CONTENT_TYPE, "text/html; charset=utf-8")],
        page.into_string(),
    )
        .into_response()
}
