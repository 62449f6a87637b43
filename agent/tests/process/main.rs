//! The real binary as a process: what it does when something of its surroundings is short, strange or denied.

mod descriptors;
mod exits;
mod given;
mod log;
