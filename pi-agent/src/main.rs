//! pi-agent: reads the settings, then hands over to the library.

fn main() {}
