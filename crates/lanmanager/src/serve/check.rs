//! Port checks: whether what a master says it started can be reached.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// How long one port has to answer, as in AllexJS.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Most checks at once: each has up to three connections open for a moment. Others
/// wait their turn.
const MAX_CHECKS: usize = 128;

/// Checks ports, not too many at once.
#[derive(Clone, Debug)]
pub(super) struct Checker(Arc<Semaphore>);

impl Checker {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MAX_CHECKS)))
    }

    /// Whether one of the ports accepts a connection; the first that does is enough.
    pub(super) async fn any_reachable(&self, address: IpAddr, ports: &[u16]) -> bool {
        let Ok(_permit) = self.0.acquire().await else {
            return false;
        };
        let attempts = ports
            .iter()
            .map(|&port| accepts(SocketAddr::new(address, port)));
        let mut attempts: FuturesUnordered<_> = attempts.collect();
        while let Some(reachable) = attempts.next().await {
            if reachable {
                return true;
            }
        }
        false
    }
}

async fn accepts(address: SocketAddr) -> bool {
    match tokio::time::timeout(TIMEOUT, TcpStream::connect(address)).await {
        // A closed port in the range of outgoing connections can be picked as our own
        // end: then we have connected to ourselves.
        Ok(Ok(stream)) => stream.local_addr().is_ok_and(|own| own != address),
        Ok(Err(_)) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use tokio::net::TcpListener;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// A port without a listener: bound once, and free again.
    async fn dead_port() -> u16 {
        let listener = TcpListener::bind((HERE, 0)).await.unwrap();
        listener.local_addr().unwrap().port()
    }

    #[tokio::test]
    async fn one_live_port_among_dead_ones_is_enough() {
        let listener = TcpListener::bind((HERE, 0)).await.unwrap();
        let alive = listener.local_addr().unwrap().port();
        let dead = dead_port().await;
        let checker = Checker::new();
        assert!(checker.any_reachable(HERE, &[dead, alive]).await);
        assert!(!checker.any_reachable(HERE, &[dead]).await);
        assert!(!checker.any_reachable(HERE, &[]).await);
    }
}
