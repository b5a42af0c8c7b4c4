//! Who listens on a port: the kernel's list of sockets against the descriptors of processes.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, SocketAddr};

use super::{processes, stat};

/// The state of a listening socket in `/proc/net/tcp`.
const LISTENING: &str = "0A";
/// The kernel's lists: one for each version of IP.
const LISTS: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// So much of a list is read at once: 400 lines. More is not read than this beyond the last one of use.
const LIST_CHUNK: usize = 64 * 1024;

/// The first of `ports` on which a process listens that is not in the group led by `leader`; `None`
/// where all listeners are. A port without a listener is skipped.
#[must_use]
pub fn foreign_listener(leader: u32, ports: &[u16]) -> Option<u16> {
    let listeners = listeners(ports);
    // Nearly always the leader itself listens: its group is searched only if it does not.
    let mut own = sockets_of(leader);
    let is_foreign = |own: &BTreeSet<u64>| {
        listeners
            .iter()
            .find(|(_, inode)| !own.contains(inode))
            .map(|(port, _)| *port)
    };
    is_foreign(&own)?;
    own.extend(group_of(leader).into_iter().flat_map(sockets_of));
    is_foreign(&own)
}

/// The processes that listen on some ports, one for each, with their names; without those that
/// belong to another user.
#[must_use]
pub fn holders(ports: &[u16]) -> Vec<(u16, u32, String)> {
    let mut found = Vec::new();
    if ports.is_empty() {
        return found;
    }
    let mut listeners = listeners(ports);
    // Only asked for where a port is taken: all processes are looked through.
    for pid in processes().into_iter().flatten() {
        if listeners.is_empty() {
            break;
        }
        let sockets = sockets_of(pid);
        listeners.retain(|(port, inode)| {
            let holds = sockets.contains(inode);
            if holds {
                let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                found.push((*port, pid, name.trim_end().to_owned()));
            }
            !holds
        });
    }
    found
}

/// A listening socket of this machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listening {
    pub address: SocketAddr,
    /// What `/proc/PID/fd` of its holders shows.
    pub inode: u64,
}

/// All listening sockets of this network namespace. The kernel lists them before all connections, of
/// which nothing is read.
#[must_use]
pub fn listening() -> Vec<Listening> {
    let mut all = Vec::new();
    for list in LISTS {
        let Ok(file) = fs::File::open(list) else {
            continue;
        };
        let lines = BufReader::with_capacity(LIST_CHUNK, file).lines().skip(1);
        all.extend(lines.map_while(|line| listener(&line.ok()?)));
    }
    all
}

/// The addresses on which a process listens.
#[must_use]
pub fn listens_on(pid: u32) -> Vec<SocketAddr> {
    let own = sockets_of(pid);
    let all = listening().into_iter();
    let all = all.filter(|listening| own.contains(&listening.inode));
    all.map(|listening| listening.address).collect()
}

/// The listening sockets on some ports, by their inodes.
fn listeners(ports: &[u16]) -> Vec<(u16, u64)> {
    let all = listening().into_iter();
    let all = all.map(|listening| (listening.address.port(), listening.inode));
    all.filter(|(port, _)| ports.contains(port)).collect()
}

/// Reads a line of the kernel's list: `sl local_address rem_address st … inode …`; `None` where it is
/// no listening socket.
fn listener(line: &str) -> Option<Listening> {
    let mut fields = line.split_ascii_whitespace();
    let (address, port) = fields.nth(1)?.rsplit_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    if fields.nth(1)? != LISTENING {
        return None;
    }
    // Between them: queues, timer, retransmissions, user and timeout.
    let inode = fields.nth(5)?.parse().ok()?;
    Some(Listening {
        address: SocketAddr::new(ip(address)?, port),
        inode,
    })
}

/// Reads an address: words of 32 bits, each in the byte order of this machine.
fn ip(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let word = u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    if text.len() == 8 {
        return Some(IpAddr::from(word(0)?));
    }
    let mut bytes = [0; 16];
    for (place, chunk) in bytes.chunks_exact_mut(4).enumerate() {
        chunk.copy_from_slice(&word(place * 8)?);
    }
    Some(IpAddr::from(bytes))
}

/// The inodes of a process's sockets; none where it is gone, or belongs to another user.
fn sockets_of(pid: u32) -> BTreeSet<u64> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return BTreeSet::new();
    };
    let inode = |entry: fs::DirEntry| {
        let target = fs::read_link(entry.path()).ok()?;
        let text = target
            .to_str()?
            .strip_prefix("socket:[")?
            .strip_suffix(']')?;
        text.parse().ok()
    };
    entries.filter_map(|entry| inode(entry.ok()?)).collect()
}

/// The processes of the group that a process leads.
fn group_of(leader: u32) -> Vec<u32> {
    let Ok(all) = processes() else {
        return Vec::new();
    };
    all.filter(|pid| stat(*pid).is_some_and(|stat| stat.group == leader))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_line_of_the_list_is_read() {
        let line = "   0: 0100007F:5C00 00000000:0000 0A 00000000:00000000 00:00000000 00000000  \
                    1000        0 123456 1 0000000000000000 100 0 0 10 0";
        let expected = Listening {
            address: "127.0.0.1:23552".parse().unwrap(),
            inode: 123_456,
        };
        assert_eq!(listener(line), Some(expected));
        let six = "   0: 00000000000000000000000001000000:5C00 0:0 0A 0:0 00:0 0 1000 0 7 1";
        let read = listener(six).map(|listening| listening.address);
        assert_eq!(read, "[::1]:23552".parse().ok());
        let connected = line.replace(" 0A ", " 01 ");
        assert_eq!(listener(&connected), None);
        assert_eq!(listener("nonsense"), None);
        assert_eq!(listener(""), None);
    }

    #[test]
    fn a_listener_is_foreign_to_everybody_but_its_own_process() {
        let socket = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        assert_eq!(foreign_listener(std::process::id(), &[port]), None);
        assert_eq!(foreign_listener(u32::MAX, &[port]), Some(port));
        drop(socket);
        assert_eq!(foreign_listener(u32::MAX, &[port]), None);
    }
}
