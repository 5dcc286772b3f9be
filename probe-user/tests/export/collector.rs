//! A collector for tests: a server of HTTP/1.1 and HTTP/2 (hyper) that decodes what it receives by
//! the published protobuf definitions. The frames of gRPC are read by hand, so that the client's
//! library is not checked by itself.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    io::Read,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderValue, Request, Response, Version},
};
use flate2::read::GzDecoder;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::{
        ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
    },
    common::v1::{KeyValue, any_value},
    metrics::v1::{Metric, metric::Data, number_data_point::Value},
};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

use crate::support::LIMIT;

/// The response to one request.
#[derive(Clone)]
pub(crate) enum Reply {
    Accept,
    /// Accepts, but for some data points.
    Reject(i64),
    /// An HTTP status, with `Retry-After`.
    Status(u16, Option<&'static str>),
    /// A gRPC status.
    Grpc(u16),
    /// No response, ever.
    Silence,
}

/// A request as it arrived.
pub(crate) struct Push {
    pub(crate) version: Version,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    /// The length of the body on the wire.
    pub(crate) length: usize,
    pub(crate) compressed: bool,
    pub(crate) request: ExportMetricsServiceRequest,
}

fn text(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    let value = |kv: &KeyValue| match kv.value.as_ref().unwrap().value.as_ref().unwrap() {
        any_value::Value::StringValue(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    pairs.iter().map(|kv| (kv.key.clone(), value(kv))).collect()
}

impl Push {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).map(|v| v.to_str().unwrap());
        value.unwrap_or_default()
    }

    pub(crate) fn resource(&self) -> BTreeMap<String, String> {
        let resource = self.request.resource_metrics[0].resource.as_ref();
        text(&resource.unwrap().attributes)
    }

    pub(crate) fn metrics(&self) -> &[Metric] {
        &self.request.resource_metrics[0].scope_metrics[0].metrics
    }

    pub(crate) fn metric(&self, name: &str) -> &Data {
        let found = self.metrics().iter().find(|m| m.name == name);
        found
            .unwrap_or_else(|| panic!("no {name}"))
            .data
            .as_ref()
            .unwrap()
    }

    /// The sum of a counter over all its series, and the times of its first one.
    pub(crate) fn total(&self, name: &str) -> (i64, u64, u64) {
        let Data::Sum(sum) = self.metric(name) else {
            panic!("{name} is no counter")
        };
        assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
        let values = sum.data_points.iter().map(|p| match p.value {
            Some(Value::AsInt(n)) => n,
            _ => panic!("{p:?}"),
        });
        let first = &sum.data_points[0];
        (
            values.sum(),
            first.start_time_unix_nano,
            first.time_unix_nano,
        )
    }
}

/// A running collector.
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    pushes: Receiver<Push>,
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

impl Collector {
    /// Starts a collector that gives these replies, and then accepts everything.
    pub(crate) fn start(replies: &[Reply]) -> Self {
        Self::start_with(replies, None)
    }

    pub(crate) fn start_with(replies: &[Reply], tls: Option<ServerConfig>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (arrived, pushes) = channel();
        let replies = Arc::new(Mutex::new(replies.iter().cloned().collect::<VecDeque<_>>()));
        let tls = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let (arrived, replies) = (arrived.clone(), Arc::clone(&replies));
                    let tls = tls.clone();
                    tokio::spawn(async move {
                        let mut start = [0; 4];
                        let Some(tls) = tls else {
                            // HTTP/2 begins with "PRI * HTTP/2.0".
                            while stream
                                .peek(&mut start)
                                .await
                                .is_ok_and(|n| (1..4).contains(&n))
                            {
                                tokio::task::yield_now().await;
                            }
                            return serve(stream, &start == b"PRI ", arrived, replies).await;
                        };
                        // A client that does not trust the certificate closes the connection.
                        if let Ok(stream) = tls.accept(stream).await {
                            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                            serve(stream, h2, arrived, replies).await;
                        }
                    });
                }
            });
        });
        Self { address, pushes }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits for the next push.
    pub(crate) fn next(&self) -> Push {
        self.try_next(LIMIT).unwrap()
    }

    /// Waits for the next push for this time.
    pub(crate) fn try_next(&self, limit: Duration) -> Option<Push> {
        self.pushes.recv_timeout(limit).ok()
    }
}

type Replies = Arc<Mutex<VecDeque<Reply>>>;

async fn serve<S>(stream: S, h2: bool, arrived: Sender<Push>, replies: Replies)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let (arrived, replies) = (arrived.clone(), Arc::clone(&replies));
        async move { Ok::<_, Infallible>(answer(request, &arrived, &replies).await) }
    });
    let stream = TokioIo::new(stream);
    // A connection ends with an error when the client is killed.
    if h2 {
        let builder = http2::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(stream, service).await;
    } else {
        let _ = http1::Builder::new()
            .serve_connection(stream, service)
            .await;
    }
}

fn gunzipped(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    plain
}

async fn answer(
    request: Request<Incoming>,
    arrived: &Sender<Push>,
    replies: &Replies,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    assert_eq!(head.method, "POST");
    let kind = head.headers["content-type"].to_str().unwrap().to_owned();
    let grpc = kind.starts_with("application/grpc");
    let (compressed, message) = if grpc {
        assert_eq!(head.version, Version::HTTP_2);
        assert_eq!(head.headers["te"], "trailers");
        let length = u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize;
        assert_eq!(length, body.len() - 5, "one message");
        (body[0] == 1, &body[5..])
    } else {
        assert_eq!(kind, "application/x-protobuf");
        let encoding = head.headers.get("content-encoding");
        assert!(encoding.is_none_or(|e| e == "gzip"));
        (encoding.is_some(), &body[..])
    };
    let message = if compressed {
        gunzipped(message)
    } else {
        message.to_vec()
    };
    let push = Push {
        version: head.version,
        path: head.uri.to_string(),
        headers: head.headers,
        length: body.len(),
        compressed,
        request: ExportMetricsServiceRequest::decode(message.as_slice()).unwrap(),
    };
    let reply = replies.lock().unwrap().pop_front().unwrap_or(Reply::Accept);
    // Fails when the test is over.
    let _ = arrived.send(push);
    if matches!(reply, Reply::Silence) {
        std::future::pending::<()>().await;
    }
    let rejected = match reply {
        Reply::Reject(n) => n,
        _ => 0,
    };
    let response = ExportMetricsServiceResponse {
        partial_success: (rejected > 0).then(|| ExportMetricsPartialSuccess {
            rejected_data_points: rejected,
            error_message: "too old".to_owned(),
        }),
    };
    let mut bytes = response.encode_to_vec();
    if grpc {
        let code = match reply {
            Reply::Grpc(code) => code,
            _ => 0,
        };
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from(code));
        if code == 0 {
            let mut frame = vec![0];
            frame.extend((bytes.len() as u32).to_be_bytes());
            frame.append(&mut bytes);
            bytes = frame;
        } else {
            bytes.clear();
            trailers.insert("grpc-message", HeaderValue::from_static("no%0Athanks"));
        }
        let body = Full::from(bytes).with_trailers(async move { Some(Ok(trailers)) });
        return Response::builder()
            .header("content-type", "application/grpc")
            .body(body.boxed_unsync())
            .unwrap();
    }
    let mut builder = Response::builder().header("content-type", "application/x-protobuf");
    if let Reply::Status(status, after) = reply {
        bytes.clear();
        builder = builder.status(status);
        if let Some(after) = after {
            builder = builder.header("retry-after", after);
        }
    }
    builder.body(Full::from(bytes).boxed_unsync()).unwrap()
}
