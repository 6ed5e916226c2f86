//! What the stack does, seen from the wire and from its sockets.

mod build;
mod control;
mod described;
mod described_runs;
mod described_stream;
mod faults;
mod fragments;
mod harness;
mod hostile;
mod ip;
mod lend;
mod link;
mod offload;
mod options;
mod path;
mod pressure;
mod random;
mod relink;
mod rss;
mod runs;
mod send;
mod siblings;
mod smoltcp;
mod tcp;
mod udp;
