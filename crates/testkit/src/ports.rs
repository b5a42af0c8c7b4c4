//! Ports that one test has for itself, also while other test programs run on this machine.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ports that the system gives out by itself.
const RANGE: std::ops::Range<u16> = 10_000..32_000;

/// A range of ports. The one before it is held open as the mark of its owner.
pub struct PortRange {
    pub first: u16,
    _mark: TcpListener,
}

/// Reserves so many ports, all of them free now.
///
/// # Panics
/// This machine has no such range left.
pub fn reserve(count: u16) -> PortRange {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let span = RANGE.end - RANGE.start - count - 1;
    // Test programs begin at different places, so that they seldom meet.
    let offset = u16::try_from(std::process::id() % u32::from(span)).unwrap();
    for _ in 0..span {
        let turn = NEXT.fetch_add(count + 1, Ordering::Relaxed);
        let place = (u32::from(offset) + u32::from(turn)) % u32::from(span);
        let mark = RANGE.start + u16::try_from(place).unwrap();
        let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", mark))
            && (mark + 1..=mark + count).all(is_free)
        {
            return PortRange {
                first: mark + 1,
                _mark: listener,
            };
        }
    }
    panic!("no {count} free ports in {RANGE:?}");
}

/// One free port, reserved until this program ends.
pub fn one() -> u16 {
    static RESERVED: Mutex<Vec<PortRange>> = Mutex::new(Vec::new());
    let range = reserve(1);
    let port = range.first;
    RESERVED.lock().unwrap().push(range);
    port
}

/// What a HTTP client of this machine gets, with the head.
///
/// # Panics
/// It gets no answer.
pub fn http_get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
