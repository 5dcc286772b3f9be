//! The pages, and the response to each request.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    extract::{RawQuery, Request, State as Extract},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode,
        header::{
            ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, VARY,
            WWW_AUTHENTICATE,
        },
    },
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use maud::{DOCTYPE, html};
use probe_ebpf::hooks::Planned;
use tokio::{sync::Semaphore, time::timeout};

use super::{
    auth::{Answer, Auth},
    connections::Client,
    encoding::{gzip, names, only, wants_gzip},
    reader::{ReaderHandle, ScrapeResult},
    reload::WebConfig,
    status::Status,
};
use crate::{
    render::metrics::{Format, encode},
    snapshot::HookState,
};

/// The maximum number of requests that wait for a reading thread which does not answer within
/// seconds: the other connections stay free for health checks.
const WAITING: usize = 32;
/// The time that it has to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the pages are made from.
pub(super) struct State {
    reader: ReaderHandle,
    web: Arc<WebConfig>,
    auth: Auth,
    status: Arc<Status>,
    waiting: Semaphore,
}

impl State {
    pub(super) fn new(reader: ReaderHandle, web: Arc<WebConfig>, status: Arc<Status>) -> Self {
        Self {
            reader,
            web,
            auth: Auth::default(),
            status,
            waiting: Semaphore::new(WAITING),
        }
    }

    pub(super) fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Returns the newest scrape.
    async fn scrape(&self) -> ScrapeResult {
        let turn = self.waiting.try_acquire();
        if turn.is_err() && !self.status.responds() {
            return Err("too many requests wait for the thread that reads the counters".into());
        }
        match timeout(PATIENCE, self.reader.scrape()).await {
            Ok(scrape) => scrape,
            Err(_) => Err("the thread that reads the counters does not respond".into()),
        }
    }
}

/// The pages that never need a password: whoever checks the health of a process has none.
const HEALTH: [&str; 2] = ["/healthz", "/readyz"];

/// Returns the router of all pages. They need a password if the web configuration has users, except
/// [`HEALTH`].
pub(super) fn router(state: Arc<State>) -> Router {
    Router::new()
        .route("/", get(front))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthy))
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
        let response = text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET and HEAD are supported\n",
        );
        ([(ALLOW, "GET, HEAD")], response).into_response()
    } else if HEALTH.contains(&request.uri().path()) {
        next.run(request).await
    } else {
        let client = request.extensions().get::<Client>();
        let from = client.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |client| client.0);
        match state.auth.check(&web.users, request.headers(), from).await {
            Answer::Welcome => next.run(request).await,
            Answer::Wrong => {
                let response = text(
                    StatusCode::UNAUTHORIZED,
                    "a user name and password are required\n",
                );
                let realm = [(WWW_AUTHENTICATE, "Basic realm=\"pinscope\"")];
                (realm, response).into_response()
            }
            Answer::TooMany => {
                let response = text(
                    StatusCode::TOO_MANY_REQUESTS,
                    "too many logins from this address wait to be checked\n",
                );
                ([(RETRY_AFTER, "1")], response).into_response()
            }
        }
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in &web.headers {
        headers.insert(name.clone(), value.clone());
    }
    response
}

async fn metrics(
    Extract(state): Extract<Arc<State>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    // Several headers form one list (RFC 9110, section 5.3).
    let accept: Vec<&str> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .collect();
    let format = Format::wanted(&accept.join(","));
    let compress = wants_gzip(&headers);
    let names = names(&query.unwrap_or_default());
    let body = match state.scrape().await {
        Err(why) => Err(why),
        Ok(scrape) if names.is_empty() => match compress {
            true => scrape.compressed(format),
            false => scrape.encoded(format),
        },
        Ok(scrape) => {
            let chosen = Arc::new(only(&scrape.families, &names));
            match (encode(&chosen, format), compress) {
                (Ok(page), true) => gzip(&page),
                (page, _) => page.map(Into::into),
            }
        }
    };
    match body {
        Ok(bytes) => {
            let types = [
                (CONTENT_TYPE, format.content_type()),
                (VARY, "Accept, Accept-Encoding"),
            ];
            let gzip = compress.then_some([(CONTENT_ENCODING, "gzip")]);
            (types, gzip, bytes).into_response()
        }
        Err(why) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{why}\n")),
    }
}

/// Responds "ok" unless the thread that reads the counters is stuck.
async fn healthy(Extract(state): Extract<Arc<State>>) -> Response {
    match state.status.stuck() {
        None => text(StatusCode::OK, "ok\n"),
        Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

/// Responds "ready" if the counters can be read, and lists the degraded hooks.
async fn ready(Extract(state): Extract<Arc<State>>) -> Response {
    let hooks = match state.status.ready() {
        Ok(hooks) => hooks,
        Err(why) => {
            return text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("not ready: {why}\n"),
            );
        }
    };
    let mut body = "ready\n".to_owned();
    for hook in hooks.iter().filter(|h| Planned::named(&h.name).is_none()) {
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

async fn front(Extract(state): Extract<Arc<State>>) -> Response {
    let scrape = state.scrape().await;
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
                    li { a href="/healthz" { "/healthz" } ": whether the thread that reads the counters responds" }
                }
                @match &scrape {
                    Ok(scrape) => {
                        h2 { "Hooks" }
                        table {
                            @for hook in scrape.hooks.iter().filter(|h| Planned::named(&h.name).is_none()) {
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use clap::{CommandFactory, FromArgMatches};

    use super::*;
    use crate::{
        cli::{Cli, Export},
        commands::export::{reader::Counters, web_config::Web},
        snapshot::{Event, Snapshot},
    };

    /// Counters whose read takes until the test says so, and whose reads are counted by that.
    struct Stuck(Receiver<()>);

    impl Counters for Stuck {
        fn snapshot(&mut self) -> Result<Snapshot, String> {
            let _ = self.0.recv();
            Ok(Snapshot::default())
        }

        fn events(&mut self, _most: usize) -> Vec<Event> {
            Vec::new()
        }

        fn kernel(&self) -> String {
            String::new()
        }
    }

    #[tokio::test]
    async fn health_does_not_wait_for_a_read_that_is_stuck() {
        let matches = Cli::command().get_matches_from(["pinscope", "export"]);
        let options = Export::from_arg_matches(matches.subcommand_matches("export").unwrap());
        let (go, wait) = channel();
        let status = Arc::new(Status::new(None));
        let reader = ReaderHandle::start(
            Box::new(Stuck(wait)),
            SystemTime::now(),
            &options.unwrap(),
            Arc::clone(&status),
        );
        let web = WebConfig::shared(None, Web::default(), &status);
        let state = Arc::new(State::new(reader.unwrap(), web, Arc::clone(&status)));
        let ask = async || {
            let healthy = healthy(Extract(Arc::clone(&state))).await;
            let ready = ready(Extract(Arc::clone(&state))).await;
            (healthy.status().as_u16(), ready.status().as_u16())
        };
        // The first read is under way.
        assert_eq!(ask().await, (200, 503));
        // It has been for long.
        status.age(Duration::from_secs(40));
        assert_eq!(ask().await, (503, 503));
        // It ends, and neither request has asked for another.
        go.send(()).unwrap();
        while status.unread() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(ask().await, (200, 200));
        // Requests for metrics wait, up to a number.
        status.age(Duration::from_secs(40));
        let turns = state.waiting.try_acquire_many(WAITING as u32).unwrap();
        let query = RawQuery(None);
        let response = metrics(Extract(Arc::clone(&state)), query, HeaderMap::new()).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        drop(turns);
        assert_eq!(ask().await.0, 503);
    }
}
