//! Who listens on a port: the kernel's list of sockets against the descriptors of processes.

use std::collections::BTreeSet;
use std::fs;

use allexmaster_state::{Identity, Pid, Port};

use super::{processes, stat};

/// The state of a listening socket in `/proc/net/tcp`.
const LISTENING: &str = "0A";
/// The kernel's lists: one for each version of IP.
const LISTS: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// The first of `ports` on which somebody listens who does not belong to the group of `child`; none
/// where all listeners do. A port without a listener is nobody's.
#[must_use]
pub fn foreign_listener(child: &Identity, ports: &[Port]) -> Option<Port> {
    let listeners = listeners(ports);
    // Nearly always the child itself listens: its group is only looked for where it does not.
    let mut own = sockets_of(child.pid);
    let is_foreign = |own: &BTreeSet<u64>| {
        listeners
            .iter()
            .find(|(_, inode)| !own.contains(inode))
            .map(|(port, _)| *port)
    };
    is_foreign(&own)?;
    own.extend(group_of(child.pid).into_iter().flat_map(sockets_of));
    is_foreign(&own)
}

/// The listening sockets on some ports, by their inodes.
fn listeners(ports: &[Port]) -> Vec<(Port, u64)> {
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
fn listener(line: &str) -> Option<(Port, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let (_, port) = fields.nth(1)?.rsplit_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    if fields.nth(1)? != LISTENING {
        return None;
    }
    // Between them: queues, timer, retransmissions, user and timeout.
    let inode = fields.nth(5)?.parse().ok()?;
    Some((Port(port), inode))
}

/// The inodes of a process's sockets; none where it is gone, or belongs to another user.
fn sockets_of(pid: Pid) -> BTreeSet<u64> {
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
fn group_of(leader: Pid) -> Vec<Pid> {
    let Ok(all) = processes() else {
        return Vec::new();
    };
    all.filter(|pid| stat(*pid).is_some_and(|stat| stat.group == leader.0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use allexmaster_state::BootId;
    use std::net::TcpListener;

    #[test]
    fn a_line_of_the_list_is_read() {
        let line = "   0: 0100007F:5C00 00000000:0000 0A 00000000:00000000 00:00000000 00000000  \
                    1000        0 123456 1 0000000000000000 100 0 0 10 0";
        assert_eq!(listener(line), Some((Port(23_552), 123_456)));
        let connected = line.replace(" 0A ", " 01 ");
        assert_eq!(listener(&connected), None);
        assert_eq!(listener("nonsense"), None);
        assert_eq!(listener(""), None);
    }

    #[test]
    fn a_listener_is_foreign_to_everybody_but_its_own_process() {
        let socket = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = Port(socket.local_addr().unwrap().port());
        let identity = |pid| Identity {
            boot: BootId::from("boot"),
            pid: Pid(pid),
            started: 0,
        };
        let own = identity(std::process::id());
        assert_eq!(foreign_listener(&own, &[port]), None);
        assert_eq!(foreign_listener(&identity(u32::MAX), &[port]), Some(port));
        drop(socket);
        assert_eq!(foreign_listener(&identity(u32::MAX), &[port]), None);
    }
}
