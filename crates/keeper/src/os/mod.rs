//! What the program asks of the operating system: a narrow interface with one implementation per system.
//!
//! Another system gets a folder beside `linux` with these functions; nothing else of the program changes.
//! Process numbers are `u32`, as in the standard library. "Unsupported" means an error of kind
//! `Unsupported` (`ENOSYS`).
//!
//! | function | contract | a system without it |
//! |---|---|---|
//! | `vfork_exec` | starts a program in its own process group, with descriptors at chosen numbers; memory cost does not depend on the caller | `fork` and `exec` |
//! | `RESET_SIGNALS` | the only signals that the program may handle: a new process resets them | empty |
//! | `handed_over`, `forget_variables` | takes inherited descriptors (sd_listen_fds(3)) and removes variables; before any thread | no descriptors: there is no keeper |
//! | `keep_descriptors_from_children` | marks all descriptors from 3 on close-on-exec | nothing |
//! | `signals_in_descriptor` | blocks all signals that others send and makes them readable from a descriptor | unsupported: there is no keeper |
//! | `become_subreaper` | orphaned descendants become children of this process | unsupported: they go to the system's first process |
//! | `open_process` | a descriptor of this process, never of a later one with the same number; readable once it has ended | unsupported |
//! | `signal_process`, `signal_group`, `signal_group_by_number` | signals exactly the process or its group by that descriptor | unsupported |
//! | `has_ended`, `peek_status`, `reap` | the end of a child, without and with taking its exit status | unsupported |
//! | `exit_status` | the exit status of a process that somebody else has reaped | unsupported: the status is lost |
//! | `boot_id` | changes with every start of the machine | a constant: a process is then identified by its start time alone |
//! | `stat` | parent, group, start time and state of a process; start time and boot identify it | `None`: no process is ever recognised |
//! | `status_of_zombie`, `user`, `own_user`, `environment` | facts about a process | `None` |
//! | `mark`, `is_marked` | the number that a process was marked with at its start, kept until it is reaped; whether it is the marked one or a descendant | `None` |
//! | `inherited_mark` | the mark of a process or of the ancestor that has it, and that one's number | `None` |
//! | `lock_holder` | the process that holds a lock on a file, without touching the lock | none is found |
//! | `processes`, `children_of` | numbers of all processes, of the children of one | unsupported |
//! | `foreign_listener` | the first of some ports on which a process outside a group listens | `None`: all listeners count as its own |
//! | `holders` | the processes that listen on some ports, and their names | none |
//! | `listening`, `listens_on` | all listening sockets, the addresses on which one process listens | empty |
//! | `raise_descriptor_limit` | the limit of open descriptors as high as it may be | unsupported |
//! | `peek_offset`, `set_peek_offset` | how many bytes of a socket were peeked and not read; survives the process | unsupported: a killed engine loses its connections |
//! | `peer`, `is_trusted_user` | user and process at the other end of a local socket, from the kernel; whether a user is this one or root | unsupported: every peer is refused |
//! | `receive`, `send`, `shut_down`, `set_nonblocking` | on a socket, never waiting | required |
//! | `pipe`, `pipe_size`, `pipe_length`, `write_pipe`, `splice` | a pipe that another process can hold too, moved to a socket without a copy | unsupported: a killed engine loses its connections |
//! | `cut_front`, `block_size` | removes the beginning of a file in place | `OPNOTSUPP`: the file is copied |
//! | `watch_folder`, `folder_changes` | which files of a folder were written, renamed or removed | unsupported: all are looked at every few seconds |
//! | `accept` | a connection of a listener, non-blocking and close-on-exec | required |
//! | `memory_file` | a file without a name in memory | an unlinked temporary file |
//! | `monotonic` | milliseconds of a clock that is never set, the same for all processes of a boot | required |
//! | `watch`, `watch_socket` | registers a descriptor with the async runtime | required |
//! | `use_one_arena` | one memory arena for all threads | nothing |

#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "linux")]
pub use linux::*;
