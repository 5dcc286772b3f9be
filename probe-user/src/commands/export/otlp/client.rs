//! One attempt to send a request, and what its failure means (the OTLP specification, "Failures").
//!
//! opentelemetry-otlp is of no use here: its exporters take only what its SDK has measured. tonic
//! without its transport does gRPC over the same HTTP client as the other protocol.

use std::time::{Duration, SystemTime};

use axum::http::{
    HeaderValue, Request, StatusCode, Uri,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, RETRY_AFTER},
    uri::PathAndQuery,
};
use flate2::{Compression, read::GzEncoder};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use prost::Message;
use tonic::{
    Code, Extensions, Status, client::Grpc, codec::CompressionEncoding, metadata::MetadataMap,
};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;

use super::settings::{Protocol, Settings};

/// The largest response that is read.
const MAX_RESPONSE: usize = 64 << 10;
/// The time to connect; an attempt as a whole has the time that the settings say.
const CONNECT: Duration = Duration::from_secs(5);
/// The time after which an HTTP/2 connection on which a call waits is probed, and the time for the
/// response. A router may forget an idle connection: without a probe, every call on it would wait for
/// TCP to give up, which takes a quarter of an hour.
const PROBE: Duration = Duration::from_secs(2);
/// The method of the collector's metrics service.
const EXPORT: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

type HttpClient = legacy::Client<HttpsConnector<HttpConnector>, tonic::body::Body>;

/// Why an attempt failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Another attempt may succeed.
    Passing {
        /// The reason.
        why: String,
        /// The time to wait, if the collector has named one.
        after: Option<Duration>,
    },
    /// The same request would fail again.
    Lasting(String),
}

/// A client for one collector.
pub(super) struct Client {
    http: HttpClient,
    endpoint: Uri,
    protocol: Protocol,
    gzip: bool,
    headers: HeaderMap,
}

impl Client {
    pub(super) fn new(settings: &Settings) -> Self {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT));
        let builder = HttpsConnectorBuilder::new()
            .with_tls_config(settings.tls.clone())
            .https_or_http();
        let grpc = settings.protocol == Protocol::Grpc;
        let connector = if grpc {
            builder.enable_http2().wrap_connector(connector)
        } else {
            builder.enable_http1().wrap_connector(connector)
        };
        let http = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(1)
            .http2_only(grpc)
            .http2_keep_alive_interval(PROBE)
            .http2_keep_alive_timeout(PROBE)
            .build(connector);
        Self {
            http,
            endpoint: settings.endpoint.clone(),
            protocol: settings.protocol,
            gzip: settings.gzip,
            headers: settings.headers.clone(),
        }
    }

    /// Sends a request once.
    pub(super) async fn send(&self, request: &ExportMetricsServiceRequest) -> Result<(), Failure> {
        let response = match self.protocol {
            Protocol::Http => self.post(request).await?,
            Protocol::Grpc => self.call(request.clone()).await?,
        };
        match response.partial_success {
            Some(partial) if partial.rejected_data_points > 0 => Err(Failure::Lasting(format!(
                "it rejected {} data points: {}",
                partial.rejected_data_points,
                shortened(&partial.error_message)
            ))),
            _ => Ok(()),
        }
    }

    async fn post(
        &self,
        request: &ExportMetricsServiceRequest,
    ) -> Result<ExportMetricsServiceResponse, Failure> {
        let lasting = |e: anyhow::Error| Failure::Lasting(format!("{e:#}"));
        let mut body = request.encode_to_vec();
        let mut post =
            Request::post(self.endpoint.clone()).header(CONTENT_TYPE, "application/x-protobuf");
        if self.gzip {
            body = gzipped(&body).map_err(|e| lasting(e.into()))?;
            post = post.header(CONTENT_ENCODING, "gzip");
        }
        let body = tonic::body::Body::new(Full::from(body));
        let mut post = post.body(body).map_err(|e| lasting(e.into()))?;
        for (name, value) in &self.headers {
            post.headers_mut().insert(name, value.clone());
        }
        let response = self.http.request(post).await.map_err(|e| unreachable(&e))?;
        let (head, body) = response.into_parts();
        if !head.status.is_success() {
            return Err(refused(head.status, &head.headers));
        }
        let body = whole(body).await?;
        // The metrics arrived, whatever else a proxy may have answered.
        Ok(ExportMetricsServiceResponse::decode(body.as_slice()).unwrap_or_default())
    }

    async fn call(
        &self,
        request: ExportMetricsServiceRequest,
    ) -> Result<ExportMetricsServiceResponse, Failure> {
        let mut grpc = Grpc::with_origin(&self.http, self.endpoint.clone())
            .max_decoding_message_size(MAX_RESPONSE);
        if self.gzip {
            grpc = grpc
                .send_compressed(CompressionEncoding::Gzip)
                .accept_compressed(CompressionEncoding::Gzip);
        }
        let metadata = MetadataMap::from_headers(self.headers.clone());
        let request = tonic::Request::from_parts(metadata, Extensions::default(), request);
        let response = grpc
            .unary(
                request,
                PathAndQuery::from_static(EXPORT),
                ProstCodec::<_, ExportMetricsServiceResponse>::default(),
            )
            .await;
        response.map(|r| r.into_inner()).map_err(|s| failed(&s))
    }
}

async fn whole(body: Incoming) -> Result<Vec<u8>, Failure> {
    let read = Limited::new(body, MAX_RESPONSE).collect().await;
    read.map(|b| b.to_bytes().to_vec())
        .map_err(|e| Failure::Passing {
            why: format!("cannot read the response: {e}"),
            after: None,
        })
}

fn gzipped(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    std::io::copy(&mut GzEncoder::new(body, Compression::fast()), &mut out)?;
    Ok(out)
}

fn unreachable(error: &legacy::Error) -> Failure {
    Failure::Passing {
        why: causes(error),
        after: None,
    }
}

/// Joins an error and its causes to one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// Interprets an HTTP status that is no success. Only four of them may be retried.
fn refused(status: StatusCode, headers: &HeaderMap) -> Failure {
    let why = format!("it responded {status}");
    match status.as_u16() {
        429 | 502 | 503 | 504 => Failure::Passing {
            why,
            after: headers.get(RETRY_AFTER).and_then(retry_after),
        },
        _ => Failure::Lasting(why),
    }
}

/// Reads `Retry-After`: seconds, or a date.
fn retry_after(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    date.duration_since(SystemTime::now()).ok()
}

/// Interprets a gRPC status. RESOURCE_EXHAUSTED may be retried only if the collector says when.
fn failed(status: &Status) -> Failure {
    let cause = std::error::Error::source(status);
    // A failed connection comes as a status of tonic's own.
    let unsent = cause.is_some_and(|c| c.is::<legacy::Error>());
    let after = status.get_details_retry_info().and_then(|i| i.retry_delay);
    let why = match cause {
        Some(cause) if unsent => causes(cause),
        _ => format!("{:?}: {}", status.code(), shortened(status.message())),
    };
    let passing = match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::ResourceExhausted => after.is_some(),
        _ => unsent,
    };
    if passing {
        Failure::Passing { why, after }
    } else {
        Failure::Lasting(why)
    }
}

/// Returns the first line of a foreign message, at most 200 characters of it.
fn shortened(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    fn passing(failure: &Failure) -> (bool, Option<Duration>) {
        match failure {
            Failure::Passing { after, .. } => (true, *after),
            Failure::Lasting(_) => (false, None),
        }
    }

    #[test]
    fn which_http_statuses_are_retried() {
        let none = HeaderMap::new();
        for status in [429, 502, 503, 504] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(passing(&refused(status, &none)), (true, None));
        }
        for status in [400, 401, 404, 413, 500, 501] {
            let status = StatusCode::from_u16(status).unwrap();
            assert!(!passing(&refused(status, &none)).0, "{status}");
        }
    }

    #[test]
    fn when_to_retry() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("7"));
        let busy = StatusCode::SERVICE_UNAVAILABLE;
        let after = passing(&refused(busy, &headers)).1;
        assert_eq!(after, Some(Duration::from_secs(7)));
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3600));
        headers.insert(RETRY_AFTER, HeaderValue::from_str(&date).unwrap());
        let after = passing(&refused(busy, &headers)).1.unwrap().as_secs();
        assert!((3500..=3600).contains(&after), "{after}");
        headers.insert(RETRY_AFTER, HeaderValue::from_static("soon"));
        assert_eq!(passing(&refused(busy, &headers)), (true, None));
    }

    #[test]
    fn which_grpc_statuses_are_retried() {
        assert!(passing(&failed(&Status::unavailable("x"))).0);
        assert!(!passing(&failed(&Status::invalid_argument("x"))).0);
        assert!(!passing(&failed(&Status::resource_exhausted("x"))).0);
        let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(3)));
        let busy = Status::with_error_details(Code::ResourceExhausted, "x", details);
        assert_eq!(
            passing(&failed(&busy)),
            (true, Some(Duration::from_secs(3)))
        );
    }
}
