//! usage: twilio-simulator [--listen 127.0.0.1:0] [--tls CERT.pem KEY.pem | --tls-self-signed DIR] [--scene FILE]
//!
//! Prints where it listens, and ends when its stdin ends: it does not outlive the test that started it.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tokio_rustls::rustls::ServerConfig;
use twilio_simulator::control::set_scene;
use twilio_simulator::listener::{Listener, tls_from_files, tls_self_signed};
use twilio_simulator::{Simulator, serve};

const USAGE: &str =
    "usage: twilio-simulator [--listen 127.0.0.1:0] [--tls CERT.pem KEY.pem | --tls-self-signed DIR] [--scene FILE]";

struct Options {
    listen: String,
    tls: Option<ServerConfig>,
    /// JSON, `{"accounts": [...], "messages": [...], "generate": [...]}` as the control takes them.
    scene: Option<Vec<u8>>,
}

fn options(mut arguments: impl Iterator<Item = String>) -> io::Result<Options> {
    let usage = || io::Error::new(io::ErrorKind::InvalidInput, USAGE);
    let mut options = Options { listen: "127.0.0.1:0".to_owned(), tls: None, scene: None };
    while let Some(argument) = arguments.next() {
        let mut path = || arguments.next().map(PathBuf::from).ok_or_else(usage);
        match argument.as_str() {
            "--listen" => options.listen = arguments.next().ok_or_else(usage)?,
            "--tls" => {
                let (certificate, key) = (path()?, path()?);
                options.tls = Some(tls_from_files(&certificate, &key)?);
            }
            "--tls-self-signed" => options.tls = Some(tls_self_signed(&path()?)?),
            "--scene" => options.scene = Some(std::fs::read(path()?)?),
            _ => return Err(usage()),
        }
    }
    Ok(options)
}

fn run() -> io::Result<()> {
    let options = options(std::env::args().skip(1))?;
    let simulator = Simulator::default();
    if let Some(scene) = options.scene {
        set_scene(&simulator, &scene).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
    }
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    std::thread::spawn(|| {
        // Whether its end was orderly or not.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        std::process::exit(0);
    });
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = Listener::bind(&options.listen, options.tls).await?;
        writeln!(io::stdout(), "listening on {scheme}://{}", listener.address())?;
        io::stdout().flush()?;
        serve(listener, Arc::new(simulator)).await
    })
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
