//! The HTTP server. Connections are limited in number, in time, and in the size of their requests.
//!
//! The probes count in the kernel and never wait for a client.

use std::{net::TcpListener as StdListener, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::{
    pages::{State, router},
    web_config::WebConfig,
};

/// The maximum number of open connections. Further ones wait to be accepted.
const CONNECTIONS: usize = 128;
/// The time that a client has to send a request's head, and may be silent between two requests.
const HEAD: Duration = Duration::from_secs(10);
/// The time limit of the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// The longest life of a connection, which also ends those of clients that read nothing.
const LIFE: Duration = Duration::from_secs(60);
/// The largest head of a request.
const HEAD_BYTES: usize = 16 << 10;
/// The maximum number of headers in it.
const HEADERS: usize = 64;
/// The time that pending responses have to finish at the end.
const GRACE: Duration = Duration::from_millis(200);

/// Serves until a signal ends it.
pub(super) async fn serve(
    listeners: Vec<StdListener>,
    state: Arc<State>,
    web: Arc<WebConfig>,
    quiet: bool,
) -> Result<()> {
    let mut end = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
    let mut again = signal(SignalKind::hangup()).context("cannot wait for signals")?;
    let router = router(state);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut loops = JoinSet::new();
    for listener in listeners {
        let listener = TcpListener::from_std(listener).context("cannot listen")?;
        if !quiet {
            let scheme = if web.now().tls.is_some() {
                "https"
            } else {
                "http"
            };
            let address = listener.local_addr().context("cannot listen")?;
            eprintln!("pinscope: metrics at {scheme}://{address}/metrics");
        }
        loops.spawn(accept(
            listener,
            router.clone(),
            Arc::clone(&web),
            Arc::clone(&places),
        ));
    }
    loop {
        tokio::select! {
            _ = end.recv() => break,
            _ = interrupt.recv() => break,
            _ = again.recv() => match web.reload() {
                Ok(()) => tracing::info!("reloaded the web configuration"),
                Err(error) => tracing::error!("cannot reload the web configuration, so the previous one stays in effect: {error:#}"),
            },
        }
    }
    loops.shutdown().await;
    // Waits for pending responses. Idle connections keep their places, hence the time limit.
    let all = u32::try_from(CONNECTIONS).unwrap_or(u32::MAX);
    let _ = timeout(GRACE, places.acquire_many(all)).await;
    Ok(())
}

async fn accept(
    listener: TcpListener,
    router: Router,
    web: Arc<WebConfig>,
    places: Arc<Semaphore>,
) {
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (router, web) = (router.clone(), Arc::clone(&web));
                tokio::spawn(one(stream, router, web, place));
            }
            Err(error) => {
                // A shortage of file descriptors, for example: an immediate retry would only spin.
                tracing::debug!("cannot accept a connection: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Serves one connection until it ends or its time is up.
async fn one(stream: TcpStream, router: Router, web: Arc<WebConfig>, place: OwnedSemaphorePermit) {
    let _place = place;
    let served = async {
        let _ = stream.set_nodelay(true);
        match &web.now().tls {
            None => http(stream, router).await,
            Some(tls) => {
                let acceptor = TlsAcceptor::from(Arc::clone(tls));
                match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => http(stream, router).await,
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(_) => Err("the TLS handshake took too long".to_owned()),
                }
            }
        }
    };
    if let Ok(Err(why)) = timeout(LIFE, served).await {
        tracing::debug!("a connection ended: {why}");
    }
}

async fn http<S>(stream: S, router: Router) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await
        .map_err(|e| e.to_string())
}
