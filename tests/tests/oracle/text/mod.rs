//! The oracle's text: what is done with a ring, and what is written down of it. It is compiled twice, with
//! what its parent module calls `IoUring`, once the kernel's and once ringwire's; the entries are the same
//! type in both.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use io_uring::{opcode, squeue, types};
use ringwire_tests::net::{PATIENCE, PEER_V4, PEER_V6, RING_V4, RING_V6, Veth};

use self::bench::*;
use self::entries::*;
use super::{Builder, IoUring};

mod accept;
mod bench;
mod buffers;
mod cancel;
mod cancel_key;
mod completions;
mod connection;
mod datagram;
mod different;
mod entries;
mod error_queue;
mod fields;
mod link;
mod link_timeout;
mod msg_zerocopy;
mod multishot;
mod multishot_end;
mod option;
mod option_effect;
mod poll;
pub mod random;
mod random_request;
mod read_write;
mod register;
mod register_buf_ring;
mod register_buffer;
mod register_eventfd;
mod register_file;
mod register_methods;
mod register_settings;
mod register_sync_cancel;
mod requests;
mod skip_drain;
mod socket;
mod stream_receive;
mod stream_send;
mod tcp_option;
mod timeout;
mod update;
mod zero_copy;

/// Something to do with a ring, and the ring to do it with.
pub struct Case {
    pub name: &'static str,
    run: fn(&mut Bench),
    setup: fn(&mut Builder),
}

/// A case for a ring without set-up flags.
const fn case(name: &'static str, run: fn(&mut Bench)) -> Case {
    Case {
        name,
        run,
        setup: |_| {},
    }
}

impl Case {
    /// Has the ring set up otherwise.
    const fn with(self, setup: fn(&mut Builder)) -> Case {
        Case { setup, ..self }
    }

    /// What happens, line by line.
    pub fn transcript(&self) -> Vec<String> {
        let veth = Veth::new(1, 1500, super::KERNEL_AT_RING);
        // The kernel looks addresses and routes up in the namespace that the socket was made in.
        veth.in_ring(|| {
            let mut builder = super::builder();
            builder.setup_cqsize(CQ_ENTRIES);
            (self.setup)(&mut builder);
            let ring = super::build(&builder, SQ_ENTRIES).expect("a ring");
            let mut bench = Bench::new(ring, &veth);
            (self.run)(&mut bench);
            bench.transcript
        })
    }
}

/// Every case on which the rings must agree.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    let subjects = [
        accept::CASES,
        buffers::CASES,
        cancel::CASES,
        completions::CASES,
        connection::CASES,
        datagram::CASES,
        error_queue::CASES,
        msg_zerocopy::CASES,
        multishot::CASES,
        multishot_end::CASES,
        option::CASES,
        option_effect::CASES,
        poll::CASES,
        read_write::CASES,
        register_buffer::CASES,
        register_buf_ring::CASES,
        register_eventfd::CASES,
        register_file::CASES,
        register_methods::CASES,
        register_settings::CASES,
        register_sync_cancel::CASES,
        requests::CASES,
        fields::CASES,
        link::CASES,
        link_timeout::CASES,
        skip_drain::CASES,
        cancel_key::CASES,
        socket::CASES,
        stream_receive::CASES,
        stream_send::CASES,
        tcp_option::CASES,
        timeout::CASES,
        update::CASES,
        zero_copy::CASES,
    ];
    subjects.into_iter().flatten()
}

/// The cases on which the rings must differ, and the only ones.
pub fn different_cases() -> &'static [Case] {
    different::CASES
}
