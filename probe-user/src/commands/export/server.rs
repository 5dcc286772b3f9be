//! The HTTP server. Connections are limited in number, in time, and in the size of their requests.
//!
//! The probes count in the kernel and never wait for a client.

use std::{net::TcpListener as StdListener, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use axum::{
    Router,
    http::{HeaderValue, header::CONNECTION},
};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    task::{JoinSet, yield_now},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::{
    connections::{Connection, Connections, Phase, Place, Watched},
    limited::{Limited, and_more},
    manager,
    pages::{State, router},
    reload::WebConfig,
    status::Status,
};
use crate::commands::logging;

/// The largest head of a request.
const HEAD_BYTES: usize = 16 << 10;
/// The maximum number of headers in it.
const HEADERS: usize = 64;
/// The time that pending responses have to finish at the end.
const GRACE: Duration = Duration::from_millis(500);
/// How long the first read may delay the first response.
const FIRST_READ: Duration = Duration::from_secs(5);
/// The shortest time between two messages about connections that cannot be accepted.
const MESSAGES: Duration = Duration::from_secs(10);
/// How often connections whose time is up are looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// Serves until a signal ends it.
pub(super) async fn serve(
    listeners: Vec<StdListener>,
    state: Arc<State>,
    web: Arc<WebConfig>,
    quiet: bool,
) -> Result<()> {
    let mut end = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
    let again = signal(SignalKind::hangup()).context("cannot wait for signals")?;
    let status = Arc::clone(state.status());
    // Otherwise the first checks would say that the counters have not been read yet.
    let _ = timeout(FIRST_READ, async {
        while status.unread() {
            sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    let router = router(state);
    let open = Arc::new(Connections::default());
    let mut loops = JoinSet::new();
    let mut urls = Vec::new();
    for listener in listeners {
        let listener = TcpListener::from_std(listener).context("cannot listen")?;
        let scheme = if web.now().tls.is_some() {
            "https"
        } else {
            "http"
        };
        let address = listener.local_addr().context("cannot listen")?;
        let url = format!("{scheme}://{address}/metrics");
        logging::say(quiet, &format!("metrics at {url}"));
        urls.push(url);
        let (router, web, open) = (router.clone(), Arc::clone(&web), Arc::clone(&open));
        loops.spawn(accept(listener, router, web, open));
    }
    loops.spawn(sweep(Arc::clone(&open), Arc::clone(&status)));
    loops.spawn(Arc::clone(&web).watch(again, Arc::clone(&open), quiet));
    manager::ready(&status, &urls);
    loops.spawn(manager::watchdog(Arc::clone(&status)));
    tokio::select! {
        _ = end.recv() => {}
        _ = interrupt.recv() => {}
    }
    manager::stopping();
    loops.shutdown().await;
    let pending = async {
        while open.busy() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let _ = timeout(GRACE, pending).await;
    Ok(())
}

/// Closes connections whose time is up, and reports a reading thread that is stuck.
async fn sweep(open: Arc<Connections>, status: Arc<Status>) {
    let mut ticks = interval(SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_stuck = false;
    loop {
        ticks.tick().await;
        match (was_stuck, status.stuck()) {
            (false, Some(why)) => tracing::error!("{why}"),
            (true, None) => tracing::warn!("the thread that reads the counters responds again"),
            _ => {}
        }
        was_stuck = status.stuck().is_some();
        let closed = open.sweep();
        if closed > 0 {
            tracing::debug!("closed {closed} connections, whose time is up");
        }
    }
}

async fn accept(
    listener: TcpListener,
    router: Router,
    web: Arc<WebConfig>,
    open: Arc<Connections>,
) {
    let messages = Limited::new(MESSAGES);
    loop {
        match listener.accept().await {
            Ok((stream, address)) => match open.admit(address.ip()) {
                Some(place) => {
                    let (router, web) = (router.clone(), Arc::clone(&web));
                    tokio::spawn(one(stream, router, web, place));
                }
                None => tracing::debug!("refused {address}: all its connections are in use"),
            },
            Err(error) => {
                // A shortage of file descriptors, for example: an immediate retry would only spin.
                if let Some(left_out) = messages.pass() {
                    let more = and_more(left_out);
                    tracing::warn!("cannot accept a connection: {error}{more}");
                }
                open.give_way();
                sleep(Duration::from_millis(100)).await;
            }
        }
        // The connection that gave way closes its socket before the next one is accepted.
        yield_now().await;
    }
}

/// Serves one connection until it ends, gives way, or its time is up.
async fn one(stream: TcpStream, router: Router, web: Arc<WebConfig>, place: Place) {
    let connection = Arc::clone(&place.connection);
    let served = async {
        let _ = stream.set_nodelay(true);
        match &web.now().tls {
            None => http(stream, router, &web, &connection).await,
            Some(tls) => {
                let acceptor = TlsAcceptor::from(Arc::clone(tls));
                match acceptor.accept(stream).await {
                    Ok(stream) => http(stream, router, &web, &connection).await,
                    Err(error) => Err(error.to_string()),
                }
            }
        }
    };
    tokio::select! {
        outcome = served => if let Err(why) = outcome {
            tracing::debug!("a connection ended: {why}");
        },
        () = place.connection.closed() => {}
    }
}

async fn http<S>(
    stream: S,
    router: Router,
    web: &Arc<WebConfig>,
    connection: &Arc<Connection>,
) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let pages = TowerToHyperService::new(router);
    let opened_with = web.now();
    let service = service_fn(|mut request: hyper::Request<Incoming>| {
        connection.enter(Phase::Working);
        request.extensions_mut().insert(connection.client);
        let response = pages.call(request);
        let opened_with = &opened_with;
        async move {
            let mut response = response.await?;
            // A client of an earlier certificate or CA has to connect again.
            if !Arc::ptr_eq(&web.now(), opened_with) {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            connection.enter(Phase::Responding);
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        // The table of connections limits the times.
        .header_read_timeout(None)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(
            TokioIo::new(Watched::new(stream, Arc::clone(connection))),
            service,
        )
        .await
        .map_err(|e| e.to_string())
}
