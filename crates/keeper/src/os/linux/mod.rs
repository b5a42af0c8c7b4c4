//! The operating system seam for Linux; [`super`] says what each function promises.

mod descriptors;
mod folder;
mod listeners;
mod process;
mod stat;
mod syscalls;

pub use descriptors::{
    Peer, accept, block_size, cut_front, is_trusted_user, memory_file, monotonic, peer, pipe,
    pipe_length, pipe_size, receive, send, set_nonblocking, shut_down, splice, user_name,
    write_pipe,
};
pub use folder::{FolderChanges, folder_changes, watch_folder};
pub use listeners::{Listening, foreign_listener, holders, listening, listens_on};
pub use process::{
    become_subreaper, boot_id, children_of, environment, has_ended, inherited_mark, is_marked,
    lock_holder, mark, open_process, own_user, peek_status, processes, raise_descriptor_limit,
    reap, signal_group_by_number, signal_process, stat, status_of_zombie, user,
};
pub use rustix::io::Errno;
pub use rustix::process::Signal;
pub use stat::{Stat, UnreadableStat};
pub use syscalls::{
    RESET_SIGNALS, SpawnSpec, Spawned, exit_status, forget_variables, handed_over,
    keep_descriptors_from_children, peek_offset, set_peek_offset, signal_group,
    signals_in_descriptor, use_one_arena, vfork_exec, watch, watch_socket,
};
