//! Ports: free or taken, ready or not.

use std::future::{pending, ready};
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use allexmaster::probe::{Probe, taken};
use allexmaster_state::{Event, Holder, Pid, Port};
use allexmaster_testkit::wait::TIMEOUT;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::bench::{incarnation, port};

#[test]
fn a_listener_on_any_address_holds_its_port() {
    for address in [
        "0.0.0.0:0",
        "127.0.0.1:0",
        "127.0.0.9:0",
        "[::]:0",
        "[::1]:0",
    ] {
        let address: SocketAddr = address.parse().unwrap();
        let listener = match TcpListener::bind(address) {
            Ok(listener) => listener,
            // A machine without IPv6.
            Err(_) if address.is_ipv6() => continue,
            Err(error) => panic!("{error}"),
        };
        let port = Port(listener.local_addr().unwrap().port());
        assert_eq!(taken(&[port, port]), [port], "{address}");
    }
    assert_eq!(taken(&[port()]), []);
    assert_eq!(taken(&[]), []);
}

#[test]
fn connections_that_only_wait_out_their_time_do_not_hold_a_port() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port().0)).unwrap();
    let address = listener.local_addr().unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    let (server, _) = listener.accept().unwrap();
    // Who closes first waits: the server's end.
    drop(server);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    drop(client);
    drop(listener);
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let waits = format!(":{:04X} ", address.port());
    assert!(
        table.lines().any(|line| line.contains(&waits)),
        "nothing waits"
    );
    assert_eq!(taken(&[Port(address.port())]), []);
}

#[tokio::test]
async fn the_answer_of_a_probe_names_the_ports_that_are_taken() {
    let (sink, mut events) = mpsc::channel(1);
    let probe = Probe::new(Handle::current(), sink);
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let held = Port(listener.local_addr().unwrap().port());
    probe.probe(incarnation(4), vec![port(), held]);
    let event = timeout(TIMEOUT, events.recv()).await.unwrap();
    let expected = Event::PortsProbed {
        incarnation: incarnation(4),
        taken: vec![held],
        holders: vec![(
            held,
            Holder {
                pid: Pid(std::process::id()),
                name: std::fs::read_to_string("/proc/self/comm")
                    .unwrap()
                    .trim_end()
                    .into(),
            },
        )],
    };
    assert_eq!(event, Some(expected));
}

#[tokio::test]
async fn a_port_is_told_to_be_free_once_the_other_program_has_left() {
    let (sink, mut events) = mpsc::channel(1);
    let probe = Probe::new(Handle::current(), sink);
    let listeners = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
    let ports = listeners
        .each_ref()
        .map(|listener| Port(listener.local_addr().unwrap().port()));
    probe.await_free(ports.to_vec());
    let [first, second] = listeners;
    for (listener, port) in [(second, ports[1]), (first, ports[0])] {
        drop(listener);
        let event = timeout(TIMEOUT, events.recv()).await.unwrap();
        assert_eq!(event, Some(Event::PortsFreed { ports: vec![port] }));
    }
}

#[tokio::test]
async fn a_child_is_ready_when_all_its_ports_answer() {
    let (sink, mut events) = mpsc::channel(1);
    let probe = Probe::new(Handle::current(), sink);
    let (one, other) = (port(), port());
    probe.await_ready(incarnation(1), vec![one, other], pending());
    let _first = TcpListener::bind((Ipv4Addr::LOCALHOST, one.0)).unwrap();
    tokio::task::yield_now().await;
    assert!(events.try_recv().is_err());
    let _second = TcpListener::bind((Ipv4Addr::LOCALHOST, other.0)).unwrap();
    let event = timeout(TIMEOUT, events.recv()).await.unwrap();
    assert_eq!(
        event,
        Some(Event::ChildReady {
            incarnation: incarnation(1)
        })
    );
}

#[tokio::test]
async fn nobody_waits_for_the_ports_of_a_child_that_is_gone() {
    let (sink, mut events) = mpsc::channel(1);
    let probe = Probe::new(Handle::current(), sink);
    probe.await_ready(incarnation(1), vec![port()], ready(()));
    drop(probe);
    // The waiting task had the last sender.
    assert_eq!(timeout(TIMEOUT, events.recv()).await.unwrap(), None);
}

#[tokio::test]
async fn a_thousand_children_are_awaited_at_once() {
    const CHILDREN: u64 = 1_000;
    let (sink, mut events) = mpsc::channel(16);
    let probe = Probe::new(Handle::current(), sink);
    let awaited = port();
    for sequence in 0..CHILDREN {
        probe.await_ready(incarnation(sequence), vec![awaited], pending());
    }
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, awaited.0))
        .await
        .unwrap();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    for _ in 0..CHILDREN {
        let event = timeout(TIMEOUT, events.recv()).await.unwrap();
        assert!(matches!(event, Some(Event::ChildReady { .. })));
    }
}
