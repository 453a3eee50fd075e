//! Something between a program and its server that does harm at a chosen moment: after so many
//! bytes have gone to the server, which is the same moment in every run, fast or slow.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::Server;

/// What to do to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Harm {
    /// Nothing: count the bytes.
    None,
    /// Hold everything up; the test does the harm then.
    Wait,
    /// Cut every connection, once; new ones are let through.
    Cut,
    /// Cut every connection and refuse new ones.
    CutForGood,
}

struct State {
    harm: Harm,
    after: u64,
    sent: AtomicU64,
    reached: AtomicBool,
    released: AtomicBool,
    gone: AtomicBool,
    open: Mutex<Vec<UnixStream>>,
}

/// A socket that leads to a server.
pub(crate) struct Proxy {
    dir: tempfile::TempDir,
    state: Arc<State>,
}

impl Proxy {
    pub(crate) fn new(server: &Server, harm: Harm, after: u64) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let listener = UnixListener::bind(dir.path().join(".s.PGSQL.5432")).expect("a socket");
        let behind = server.socket_dir().join(format!(".s.PGSQL.{}", server.port()));
        let state = Arc::new(State {
            harm,
            after,
            sent: AtomicU64::new(0),
            reached: AtomicBool::new(false),
            released: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            open: Mutex::new(Vec::new()),
        });
        let accepting = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepting.gone.load(Ordering::SeqCst) {
                    // Dropped at once.
                    continue;
                }
                accepting.connect(client, &behind);
            }
        });
        Self { dir, state }
    }

    /// A connection URL of a database behind it, as `postgres`.
    pub(crate) fn url(&self, database: &str) -> String {
        let host = super::percent_encoded(&self.dir.path().to_string_lossy());
        format!("postgres://postgres@{host}:5432/{}", super::percent_encoded(database))
    }

    /// Bytes that have gone to the server.
    pub(crate) fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::SeqCst)
    }

    /// Whether the moment has come.
    pub(crate) fn reached(&self) -> bool {
        self.state.reached.load(Ordering::SeqCst)
    }

    /// Holds nothing up any more.
    pub(crate) fn release(&self) {
        self.state.released.store(true, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.gone.store(true, Ordering::SeqCst);
        self.state.cut();
    }
}

impl State {
    fn connect(self: &Arc<Self>, client: UnixStream, behind: &Path) {
        let Ok(server) = UnixStream::connect(behind) else { return };
        let clone = |stream: &UnixStream| stream.try_clone().expect("a second handle");
        self.open.lock().unwrap().extend([clone(&client), clone(&server)]);
        let (from, to) = (clone(&client), clone(&server));
        let state = Arc::clone(self);
        std::thread::spawn(move || state.forward(from, to, true));
        let state = Arc::clone(self);
        std::thread::spawn(move || state.forward(server, client, false));
    }

    fn forward(&self, mut from: UnixStream, mut to: UnixStream, counted: bool) {
        let mut buffer = vec![0; 8192];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            if counted && self.harm != Harm::None {
                let sent = self.sent.fetch_add(read as u64, Ordering::SeqCst) + read as u64;
                if sent >= self.after && !self.reached.swap(true, Ordering::SeqCst) {
                    match self.harm {
                        Harm::None | Harm::Wait => {}
                        Harm::Cut => self.cut(),
                        Harm::CutForGood => {
                            self.gone.store(true, Ordering::SeqCst);
                            self.cut();
                        }
                    }
                }
                // Until it is cut by the test, or ended by its end.
                while self.holds() {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
            } else if counted {
                self.sent.fetch_add(read as u64, Ordering::SeqCst);
            }
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        _ = to.shutdown(Shutdown::Both);
        _ = from.shutdown(Shutdown::Both);
    }

    fn holds(&self) -> bool {
        self.harm == Harm::Wait
            && self.reached.load(Ordering::SeqCst)
            && !self.released.load(Ordering::SeqCst)
            && !self.gone.load(Ordering::SeqCst)
    }

    fn cut(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            _ = stream.shutdown(Shutdown::Both);
        }
    }
}
