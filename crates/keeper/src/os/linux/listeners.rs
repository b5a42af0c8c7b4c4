//! Who listens on a port: the kernel's list of sockets against the descriptors of processes.

use std::collections::BTreeSet;
use std::fs;

use super::{processes, stat};

/// The state of a listening socket in `/proc/net/tcp`.
const LISTENING: &str = "0A";
/// The kernel's lists: one for each version of IP.
const LISTS: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

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

/// The listening sockets on some ports, by their inodes.
fn listeners(ports: &[u16]) -> Vec<(u16, u64)> {
    let texts = LISTS
        .iter()
        .filter_map(|list| fs::read_to_string(list).ok());
    let mut found = Vec::new();
    for text in texts {
        let lines = text.lines().skip(1).filter_map(listener);
        found.extend(lines.filter(|(port, _)| ports.contains(port)));
    }
    found
}

/// Reads a line of the kernel's list: `sl local_address rem_address st … inode …`.
fn listener(line: &str) -> Option<(u16, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let (_, port) = fields.nth(1)?.rsplit_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    if fields.nth(1)? != LISTENING {
        return None;
    }
    // Between them: queues, timer, retransmissions, user and timeout.
    let inode = fields.nth(5)?.parse().ok()?;
    Some((port, inode))
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
        assert_eq!(listener(line), Some((23_552, 123_456)));
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
