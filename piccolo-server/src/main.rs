//! piccolo-server

fn main() {}
