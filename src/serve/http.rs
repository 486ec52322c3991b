//! The HTTP thread: `/metrics` for Prometheus, `/status` for `top`, `/` for a person.
//!
//! In: GET and HEAD requests. Out: what [`Metrics`] knows. One ordinary thread with one request a connection; how many
//! connections there are, how long one lives and how much it may say are bounded, so that no client, slow or hostile, costs
//! more than its share. It never writes to the pipeline.

use super::Metrics;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};

/// A running HTTP thread; dropped, it stops and closes its connections.
pub struct Server {
    address: SocketAddr,
    /// Dropped to stop.
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

/// The server could not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve metrics on {address}: {source}")]
pub struct ServeError {
    address: SocketAddr,
    source: io::Error,
}

/// What clients may cost.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Connections at one time; those beyond wait in the kernel's queue.
    connections: usize,
    /// To send the whole head of a request.
    head: Duration,
    /// From accept to close.
    connection: Duration,
    /// Of a request's head.
    bytes: usize,
}

const LIMITS: Limits =
    Limits { connections: 32, head: Duration::from_secs(2), connection: Duration::from_secs(10), bytes: 16 << 10 };

/// After accept failed, as it does when the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const INDEX: &str = "tickpath\n\n/metrics  for Prometheus\n/status   the same as JSON, for tickpath top\n";

impl Server {
    /// Serve `metrics` on `address`; port 0 takes a free one. `first` runs first on the new thread: the place to choose its
    /// CPUs.
    ///
    /// # Errors
    /// An address that is taken, is not of this host or may not be used.
    pub fn start(
        address: SocketAddr,
        metrics: Arc<Metrics>,
        first: impl FnOnce() + Send + 'static,
    ) -> Result<Server, ServeError> {
        start(address, metrics, first, LIMITS).map_err(|source| ServeError { address, source })
    }

    /// Where it listens, with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was printed there, and there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

impl ServeError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self.source.kind() {
            ErrorKind::AddrInUse => format!(
                "another process listens there (`ss -ltnp 'sport = :{}'` names it): stop it, or choose another port, \
                 or port 0 for any that is free",
                self.address.port()
            ),
            ErrorKind::AddrNotAvailable => "that is not an address of this host; `ip address` lists them".into(),
            ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE: choose another".into(),
            _ => return None,
        })
    }
}

fn start(
    address: SocketAddr,
    metrics: Arc<Metrics>,
    first: impl FnOnce() + Send + 'static,
    limits: Limits,
) -> io::Result<Server> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let listener = {
        let _inside = runtime.enter();
        TcpListener::from_std(listener)?
    };
    let (stop, stopped) = oneshot::channel();
    let thread = thread::Builder::new().name("tickpath-http".into()).spawn(move || {
        first();
        runtime.spawn(accept(listener, metrics, limits));
        // Ends when the other half is dropped; the runtime goes after it and takes every connection along.
        let _ = runtime.block_on(stopped);
    })?;
    Ok(Server { address, stop: Some(stop), thread: Some(thread) })
}

async fn accept(listener: TcpListener, metrics: Arc<Metrics>, limits: Limits) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    while let Ok(slot) = slots.clone().acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let metrics = metrics.clone();
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let answer = answer(&metrics, request.method(), request.uri().path());
                async { Ok::<_, Infallible>(answer) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits.head)
                .max_buf_size(limits.bytes)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            // Whatever the client did wrong is its own affair.
            let _ = tokio::time::timeout(limits.connection, connection).await;
            drop(slot);
        });
    }
}

fn answer(metrics: &Metrics, method: &Method, path: &str) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    if method != Method::GET && method != Method::HEAD {
        let mut refused = respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match path {
        "/" => respond(StatusCode::OK, TEXT, INDEX),
        "/metrics" => respond(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics.exposition()),
        "/status" => match serde_json::to_vec(&*metrics.snapshot()) {
            Ok(json) => respond(StatusCode::OK, "application/json", json),
            Err(err) => respond(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{err}\n")),
        },
        _ => respond(StatusCode::NOT_FOUND, TEXT, "nothing here: see /\n"),
    }
}

fn respond(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    /// Few and short, so that a test sees them at work.
    const TIGHT: Limits = Limits {
        connections: 4,
        head: Duration::from_millis(100),
        connection: Duration::from_millis(400),
        bytes: 8192,
    };

    fn server(limits: Limits) -> Server {
        let metrics = Arc::new(Metrics::new(&["nasdaq"]));
        start("127.0.0.1:0".parse().unwrap(), metrics, || (), limits).unwrap()
    }

    fn client(server: &Server, says: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        // The server may hang up in the middle of it.
        let _ = stream.write_all(says);
        stream
    }

    /// Everything until the server closes; a reset is an end too.
    fn rest(mut stream: TcpStream) -> String {
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        String::from_utf8_lossy(&all).into_owned()
    }

    fn serves(server: &Server) -> bool {
        rest(client(server, b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n")).starts_with("HTTP/1.1 200 OK\r\n")
    }

    #[test]
    fn clients_that_say_nothing_or_half_a_request_are_hung_up_on_and_others_served() {
        let server = server(TIGHT);
        let silent: Vec<TcpStream> = (0..20).map(|_| client(&server, b"")).collect();
        let half: Vec<TcpStream> = (0..20).map(|_| client(&server, b"GET /metrics HTTP/1.1\r\nHost:")).collect();
        assert!(serves(&server));
        for stream in silent.into_iter().chain(half) {
            assert!(!rest(stream).contains("200 OK"));
        }
    }

    #[test]
    fn a_client_that_drips_a_request_is_cut_off() {
        let server = server(TIGHT);
        let mut stream = client(&server, b"GET / HTTP/1.1\r\n");
        // Ends only when the server hangs up.
        while stream.write_all(b"X-Slow: 1\r\n").is_ok() {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(serves(&server));
    }

    #[test]
    fn a_client_that_never_reads_its_answer_is_cut_off() {
        let metrics = Metrics::new(&(0..200).map(|i| format!("venue-{i}")).collect::<Vec<_>>());
        // More than the socket buffers of both sides take without a reader.
        assert!(metrics.exposition().len() > 4 << 20);
        let server = start("127.0.0.1:0".parse().unwrap(), Arc::new(metrics), || (), TIGHT).unwrap();
        let deaf: Vec<TcpStream> =
            (0..TIGHT.connections).map(|_| client(&server, b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n")).collect();
        assert!(rest(client(&server, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")).starts_with("HTTP/1.1 200 OK\r\n"));
        drop(deaf);
    }

    #[test]
    fn a_head_without_end_and_what_is_not_http_are_refused() {
        let server = server(TIGHT);
        let mut endless = b"GET / HTTP/1.1\r\nX: ".to_vec();
        endless.resize(1 << 20, b'x');
        let mut many = b"GET / HTTP/1.1\r\n".to_vec();
        (0..5000).for_each(|_| many.extend(b"X: 1\r\n"));
        for says in [&endless[..], &many, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\0\0\0\0\r\n\r\n"] {
            assert!(!rest(client(&server, says)).contains("200 OK"));
        }
        assert!(serves(&server));
    }

    #[test]
    fn one_connection_answers_one_request() {
        let server = server(LIMITS);
        let twice = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n".repeat(2);
        assert_eq!(rest(client(&server, &twice)).matches("HTTP/1.1 200 OK").count(), 1);
    }

    #[test]
    fn it_stops_while_clients_hang() {
        let patient = Limits { head: Duration::from_secs(3600), connection: Duration::from_secs(3600), ..LIMITS };
        let server = server(patient);
        let hanging: Vec<TcpStream> = (0..50).map(|_| client(&server, b"GET /")).collect();
        drop(server);
        for stream in hanging {
            assert_eq!(rest(stream), "");
        }
    }
}
