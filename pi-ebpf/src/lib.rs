//! pi-ebpf
