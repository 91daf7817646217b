//! A proxy on the way to the broker: passes everything on, until it is told to cut, or to stand still.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PASS: u8 = 0;
const CUT: u8 = 1;
const STILL: u8 = 2;

/// It listens as long as the process lives.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    mode: AtomicU8,
    target: Mutex<String>,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Where to is said later: the target has to know of the proxy first.
    pub(crate) fn start() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared::default());
        let proxy = Proxy { port, shared: shared.clone() };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let target = shared.target.lock().expect("a lock").clone();
                if shared.mode.load(Ordering::SeqCst) == CUT {
                    continue;
                }
                let Ok(server) = TcpStream::connect(target) else { continue };
                let ends = [&client, &server].map(|end| end.try_clone().expect("a handle"));
                shared.open.lock().expect("a lock").extend(ends);
                let [from, to] = [&client, &server].map(|end| end.try_clone().expect("a handle"));
                let (first, second) = (shared.clone(), shared.clone());
                std::thread::spawn(move || pass(client, server, &first));
                std::thread::spawn(move || pass(to, from, &second));
            }
        });
        proxy
    }

    pub(crate) fn lead_to(&self, target: &str) {
        *self.shared.target.lock().expect("a lock") = target.to_owned();
    }

    /// Closes every connection and takes no new ones.
    pub(crate) fn cut(&self) {
        self.shared.mode.store(CUT, Ordering::SeqCst);
        for end in self.shared.open.lock().expect("a lock").drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    /// Keeps every connection and passes nothing on.
    pub(crate) fn stand_still(&self) {
        self.shared.mode.store(STILL, Ordering::SeqCst);
    }

    pub(crate) fn go_on(&self) {
        self.shared.mode.store(PASS, Ordering::SeqCst);
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, shared: &Shared) {
    let mut bytes = vec![0; 1 << 16];
    loop {
        while shared.mode.load(Ordering::SeqCst) == STILL {
            std::thread::sleep(Duration::from_millis(5));
        }
        match from.read(&mut bytes) {
            Ok(len) if len > 0 && to.write_all(&bytes[..len]).is_ok() => {}
            _ => break,
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
