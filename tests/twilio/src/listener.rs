//! The listener: plain or TLS, with connections that can be broken on command.

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::server::TlsStream;

/// How an answer breaks the connection that it goes to.
#[derive(Clone, Default)]
pub struct Wire(Arc<Breaks>);

#[derive(Default)]
struct Breaks {
    refuse: AtomicBool,
    reset: AtomicBool,
}

impl Wire {
    /// From now on nothing can be written.
    pub fn refuse(&self) {
        self.0.refuse.store(true, Ordering::Relaxed);
    }

    /// When the connection ends, it is with a reset, not with an orderly close.
    pub fn reset(&self) {
        self.0.reset.store(true, Ordering::Relaxed);
    }
}

impl Connected<IncomingStream<'_, Listener>> for Wire {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Wire {
        stream.io().wire.clone()
    }
}

/// Hands out connections as they are ready: a client that does not finish its TLS handshake holds up nobody.
pub struct Listener {
    address: SocketAddr,
    ready: mpsc::Receiver<Connection>,
}

impl Listener {
    pub async fn bind(address: &str, tls: Option<ServerConfig>) -> io::Result<Listener> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (sender, ready) = mpsc::channel(64);
        tokio::spawn(accept(listener, tls.map(|config| TlsAcceptor::from(Arc::new(config))), sender));
        Ok(Listener { address, ready })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, ready: mpsc::Sender<Connection>) {
    loop {
        let Ok((tcp, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: some will be free again.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        // Without it small answers would wait for the acknowledgement of those before.
        let _ = tcp.set_nodelay(true);
        let (tls, ready) = (tls.clone(), ready.clone());
        tokio::spawn(async move {
            let stream = match tls {
                None => Stream::Plain(tcp),
                Some(tls) => match tls.accept(tcp).await {
                    Ok(stream) => Stream::Tls(Box::new(stream)),
                    Err(_) => return,
                },
            };
            let _ = ready.send(Connection { stream, wire: Wire::default() }).await;
        });
    }
}

impl axum::serve::Listener for Listener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        match self.ready.recv().await {
            Some(connection) => (connection, self.address),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

pub struct Connection {
    stream: Stream,
    wire: Wire,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.wire.0.reset.load(Ordering::Relaxed) {
            let tcp = match &self.stream {
                Stream::Plain(tcp) => tcp,
                Stream::Tls(tls) => tls.get_ref().0,
            };
            let _ = tcp.set_zero_linger();
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_read(context, buffer),
            Stream::Tls(tls) => Pin::new(tls).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.wire.0.refuse.load(Ordering::Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write(context, bytes),
            Stream::Tls(tls) => Pin::new(tls).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_flush(context),
            Stream::Tls(tls) => Pin::new(tls).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_shutdown(context),
            Stream::Tls(tls) => Pin::new(tls).poll_shutdown(context),
        }
    }
}

/// TLS with a certificate and its key from files.
pub fn tls_from_files(certificate: &Path, key: &Path) -> io::Result<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(io::Error::other)?;
    tls(chain, PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?)
}

/// TLS with a certificate that nobody signed but itself, for localhost and 127.0.0.1, which is written to
/// `DIRECTORY/cert.pem`. Its key is kept in memory.
pub fn tls_self_signed(directory: &Path) -> io::Result<ServerConfig> {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let own = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
    std::fs::write(directory.join("cert.pem"), own.cert.pem())?;
    tls(vec![own.cert.der().clone()], PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()).into())
}

fn tls(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> io::Result<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test says what it expected and stops")]

    use super::*;
    use axum::serve::Listener as _;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::pki_types::ServerName;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    async fn connect(address: SocketAddr, trusted: RootCertStore, name: &'static str) -> io::Result<()> {
        let client = ClientConfig::builder().with_root_certificates(trusted).with_no_client_auth();
        let tcp = TcpStream::connect(address).await?;
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        TlsConnector::from(Arc::new(client)).connect(name, tcp).await.map(|_| ())
    }

    #[test]
    fn rustls_trusts_the_certificate_that_nobody_signed() {
        let directory = std::env::temp_dir().join(format!("twilio-simulator-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let tls = tls_self_signed(&directory).unwrap();
        let mut trusted = RootCertStore::empty();
        trusted.add(CertificateDer::from_pem_file(directory.join("cert.pem")).unwrap()).unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
            let mut listener = Listener::bind("127.0.0.1:0", Some(tls)).await.unwrap();
            let address = listener.address();
            tokio::spawn(async move {
                loop {
                    listener.accept().await;
                }
            });
            assert!(connect(address, trusted.clone(), "localhost").await.is_ok());
            assert!(connect(address, trusted.clone(), "127.0.0.1").await.is_ok());
            assert!(connect(address, trusted, "api.twilio.com").await.is_err());
            assert!(connect(address, RootCertStore::empty(), "localhost").await.is_err());
        });
    }
}
