//! What the exit code of the program says. These numbers are stable.

/// All went well.
pub const OK: u8 = 0;
/// Something failed; the message says what.
pub const FAILURE: u8 = 1;
/// The command line was not understood.
pub const USAGE: u8 = 2;
/// The configuration has a mistake; the message says where.
pub const CONFIGURATION: u8 = 3;
/// Another master runs in this folder.
pub const ALREADY_RUNNING: u8 = 4;
/// No master runs in this folder, so there is nobody to ask.
pub const NOT_RUNNING: u8 = 5;
/// The journal cannot be read or written.
pub const JOURNAL: u8 = 6;
/// The master refused what was asked; the message has its reason.
pub const REFUSED: u8 = 7;

/// A service has failed, or is tried again after a failure (`status --quiet`).
pub const UNWELL: u8 = 8;
/// A master runs in this folder, but cannot be spoken to; the message says why.
pub const UNREACHABLE: u8 = 9;

/// The table for `--help`.
pub const HELP: &str = "Exit codes:
  0  all went well
  1  something failed; the message says what
  2  the command line was not understood
  3  the configuration has a mistake; the message says where
  4  another master runs in this folder
  5  no master runs in this folder, so there is nobody to ask
  6  the journal cannot be read or written
  7  the master refused what was asked; the message has its reason
  8  a service has failed, or is tried again after a failure (`status --quiet`)
  9  a master runs in this folder, but cannot be spoken to; the message says why";
