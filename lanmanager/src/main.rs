//! The program `allexlanmanager`.

fn main() {}
