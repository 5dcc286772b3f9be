//! The pages, and the response to each request.

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

use super::{auth::Auth, reader::ReaderHandle, web_config::WebConfig};
use crate::{render::metrics::Format, snapshot::HookState};

/// What the pages are made from.
pub(super) struct State {
    reader: ReaderHandle,
    web: Arc<WebConfig>,
    auth: Auth,
}

impl State {
    pub(super) fn new(reader: ReaderHandle, web: Arc<WebConfig>) -> Self {
        Self {
            reader,
            web,
            auth: Auth::default(),
        }
    }
}

/// Returns the router of all pages. They need a password if the web configuration has users.
pub(super) fn router(state: Arc<State>) -> Router {
    Router::new()
        .route("/", get(front))
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { text(StatusCode::OK, "ok\n") }))
        .route("/readyz", get(ready))
        .fallback(|| async {
            text(
                StatusCode::NOT_FOUND,
                "not found: the metrics are at /metrics\n",
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
        let mut response = text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET and HEAD are supported\n",
        );
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        response
    } else if state.auth.allows(&web.users, request.headers()).await {
        next.run(request).await
    } else {
        let mut response = text(
            StatusCode::UNAUTHORIZED,
            "a user name and password are required\n",
        );
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
    // Several headers form one list (RFC 9110, section 5.3).
    let accept: Vec<&str> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .collect();
    let format = Format::wanted(&accept.join(","));
    let body = match state.reader.scrape().await {
        Ok(scrape) => scrape.encoded(format),
        Err(why) => Err(why),
    };
    match body {
        Ok(bytes) => ([(CONTENT_TYPE, format.content_type())], bytes).into_response(),
        Err(why) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{why}\n")),
    }
}

/// Responds "ready" if the counters can be read, and lists the degraded hooks.
async fn ready(Extract(state): Extract<Arc<State>>) -> Response {
    match state.reader.scrape().await {
        Ok(scrape) => {
            let mut body = "ready\n".to_owned();
            for hook in &scrape.hooks {
                let why = hook.reason.as_deref();
                if hook.state != HookState::Active {
                    let (state, why) = (hook.state.name(), why.unwrap_or("the reason is unknown"));
                    body.push_str(&format!("{} is {state}: {why}\n", hook.name));
                } else if let Some(why) = why {
                    body.push_str(&format!(
                        "{} is active with weaker evidence: {why}\n",
                        hook.name
                    ));
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
    let scrape = state.reader.scrape().await;
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
                p { "Finds memory that reclaim keeps unmapping but cannot free because it is pinned." }
                ul {
                    li { a href="/metrics" { "/metrics" } " for Prometheus" }
                    li { a href="/readyz" { "/readyz" } ": whether the counters can be read, and which hooks are degraded" }
                    li { a href="/healthz" { "/healthz" } ": whether the process responds" }
                }
                @match &scrape {
                    Ok(scrape) => {
                        h2 { "Hooks" }
                        table {
                            @for hook in &scrape.hooks {
                                tr {
                                    td { (hook.name) } td { (hook.state.name()) }
                                    td { (hook.reason.as_deref().unwrap_or("")) }
                                }
                            }
                        }
                        p { "Read " (humantime::format_rfc3339_seconds(scrape.at.max(SystemTime::UNIX_EPOCH)).to_string()) }
                    }
                    Err(why) => p { strong { (why) } }
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
