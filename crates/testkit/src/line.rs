//! A line between a master and its LanManager that can be broken. It gives the master an address of its
//! own, as if it ran on another machine.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use tokio::net::TcpSocket;

use crate::ports::{PortRange, reserve};
use crate::wait::wait_for;

/// A line.
pub struct Line {
    /// Where the master dials.
    pub port: u16,
    _port: PortRange,
    source: IpAddr,
    target: SocketAddr,
    /// Says that the present listener is to be given up.
    cut: Arc<AtomicBool>,
    pairs: Arc<Mutex<Vec<Pair>>>,
}

/// One connection through the line.
struct Pair {
    master: TcpStream,
    lan_manager: TcpStream,
    /// The LanManager's side stays open when the master's ends.
    leaks: Arc<AtomicBool>,
}

impl Line {
    /// A line to a LanManager's port, which sees whoever uses it at 127.0.0.`host`.
    pub fn new(target: u16, host: u8) -> Self {
        let range = reserve(1);
        let mut line = Self {
            port: range.first,
            _port: range,
            source: Ipv4Addr::new(127, 0, 0, host).into(),
            target: (Ipv4Addr::LOCALHOST, target).into(),
            cut: Arc::default(),
            pairs: Arc::default(),
        };
        line.mend();
        line
    }

    /// Lets connections through again.
    pub fn mend(&mut self) {
        let listener = wait_for("the port of the line", || {
            TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).ok()
        });
        self.cut = Arc::default();
        let (source, target) = (self.source, self.target);
        let (cut, pairs) = (Arc::clone(&self.cut), Arc::clone(&self.pairs));
        thread::spawn(move || {
            while let Ok((master, _)) = listener.accept() {
                if cut.load(Ordering::SeqCst) {
                    return;
                }
                // The LanManager may be away: then the master's side is closed.
                if let Ok(lan_manager) = dial(source, target) {
                    let pair = carry(master, lan_manager).unwrap();
                    pairs.lock().unwrap().push(pair);
                }
            }
        });
    }

    /// Ends all connections, and refuses new ones.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        // Wakes the listener, which then closes its port.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
        wait_for("the cut", || {
            let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
            refused.is_err().then_some(())
        });
        for pair in self.pairs.lock().unwrap().drain(..) {
            let _ = pair.master.shutdown(Shutdown::Both);
            let _ = pair.lan_manager.shutdown(Shutdown::Both);
        }
    }

    /// Ends all connections for the master; for the LanManager they still seem to be there.
    pub fn leak(&self) {
        for pair in self.pairs.lock().unwrap().iter() {
            pair.leaks.store(true, Ordering::SeqCst);
            let _ = pair.master.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.cut();
    }
}

fn dial(source: IpAddr, target: SocketAddr) -> io::Result<TcpStream> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let connected = runtime.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(source, 0))?;
        socket.connect(target).await
    });
    let stream = connected?.into_std()?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Carries bytes in both directions until one side ends.
fn carry(master: TcpStream, lan_manager: TcpStream) -> io::Result<Pair> {
    let leaks = Arc::<AtomicBool>::default();
    for (mut from, mut to) in [
        (master.try_clone()?, lan_manager.try_clone()?),
        (lan_manager.try_clone()?, master.try_clone()?),
    ] {
        let leaks = Arc::clone(&leaks);
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            if !leaks.load(Ordering::SeqCst) {
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
            }
        });
    }
    Ok(Pair {
        master,
        lan_manager,
        leaks,
    })
}
