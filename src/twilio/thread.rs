//! The thread on which all of it runs.
//!
//! PostgreSQL's own thread must not wait for a network: a backend that does not answer holds up DROP DATABASE of any
//! database, and does not end when it is told to. So it only looks in now and then; the waiting is done here, where no
//! function of PostgreSQL is ever called and no signal arrives.

use super::client::{Client, base_url};
use super::inquiry::{self, Asked, Counts, Said};
use super::pace::Pace;
use std::time::Duration;
use tokio::sync::mpsc::{self, error::TryRecvError};
use tokio::time::Instant;

/// How many parcels of answers may wait to be fetched. A page is one of them, so memory stays bounded.
const WAITING: usize = 8;

/// A round's requests, and how they are to be made.
#[derive(Debug)]
pub struct Inquiry {
    pub base_url: String,
    pub timeout: Duration,
    pub at_once: usize,
    pub delay: Duration,
    /// No request starts later than this.
    pub time: Duration,
    pub asked: Vec<Asked>,
}

/// The thread, which ends when this is dropped, and with it every request under way.
pub struct Thread {
    inquiries: mpsc::UnboundedSender<(Inquiry, mpsc::Sender<Said>)>,
}

/// Answers to one inquiry. Dropping it ends the inquiry.
pub struct Answers {
    said: mpsc::Receiver<Said>,
}

/// What there is to hear.
pub enum Heard {
    Said(Said),
    /// Nothing yet.
    Nothing,
    /// The inquiry is over.
    Done(Counts),
    /// The thread is gone; it can't go on.
    Gone,
}

impl Answers {
    /// What has come, without waiting for it.
    pub fn hear(&mut self) -> Heard {
        match self.said.try_recv() {
            Ok(Said::Done(counts)) => Heard::Done(counts),
            Ok(said) => Heard::Said(said),
            Err(TryRecvError::Empty) => Heard::Nothing,
            Err(TryRecvError::Disconnected) => Heard::Gone,
        }
    }
}

impl Thread {
    pub fn start() -> Result<Thread, String> {
        let (inquiries, work) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| format!("no event loop: {e}"))?;
        // Threads inherit what is blocked, and so do those that look up host names.
        let signals = Blocked::all();
        let thread = std::thread::Builder::new().name("msgstatus http".to_owned()).spawn(move || serve(&runtime, work));
        drop(signals);
        thread.map_err(|e| format!("no thread: {e}"))?;
        Ok(Thread { inquiries })
    }

    /// Begins to ask. One inquiry is dealt with after the other.
    pub fn ask(&self, inquiry: Inquiry) -> Answers {
        let (out, said) = mpsc::channel(WAITING);
        // If the thread is gone, so is the sender, and the answers say so.
        let _ = self.inquiries.send((inquiry, out));
        Answers { said }
    }
}

type Work = mpsc::UnboundedReceiver<(Inquiry, mpsc::Sender<Said>)>;

fn serve(runtime: &tokio::runtime::Runtime, mut work: Work) {
    // The client keeps connections between rounds.
    let mut client: Option<(String, Duration, Client)> = None;
    runtime.block_on(async {
        while let Some((inquiry, out)) = work.recv().await {
            let same = client.take().filter(|c| (&c.0, c.1) == (&inquiry.base_url, inquiry.timeout));
            let ready = match same {
                Some((.., client)) => Ok(client),
                None => base_url(&inquiry.base_url).and_then(|base| Client::new(base, inquiry.timeout)),
            };
            let ready = match ready {
                Ok(ready) => ready,
                Err(why) => {
                    inquiry::decline(inquiry.asked, &why, &out).await;
                    continue;
                }
            };
            let pace = Pace::new(inquiry.at_once, inquiry.delay);
            let deadline = Instant::now() + inquiry.time;
            tokio::select! {
                () = inquiry::run(&ready, &pace, inquiry.asked, deadline, out.clone()) => {}
                () = out.closed() => {}
            }
            client = Some((inquiry.base_url, inquiry.timeout, ready));
        }
    });
}

/// All signals, kept from this thread until dropped.
struct Blocked {
    before: libc::sigset_t,
}

impl Blocked {
    fn all() -> Blocked {
        // SAFETY: the sets are plain data, filled in by the calls before they are read.
        unsafe {
            let (mut all, mut before) = (std::mem::zeroed(), std::mem::zeroed());
            libc::sigfillset(&mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
            Blocked { before }
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: puts back what `all` found.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, std::ptr::null_mut()) };
    }
}
