//! Who takes part: a name, a command line, and the bed it runs in.

use ringwire_tests::net::{RING_INTERFACE, RING_V4};

use crate::bed::BedKind;
use crate::process::Line;

/// The port of every server.
pub const PORT: u16 = 7777;

/// One that is measured.
#[derive(Clone, Debug)]
pub struct Contestant {
    pub name: &'static str,
    pub bed: BedKind,
    pub line: Line,
    /// Why it cannot take part, and what would help.
    pub missing: Option<String>,
}

/// Where XDP runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Native,
    Generic,
}

impl Mode {
    pub fn word(self) -> &'static str {
        match self {
            Mode::Native => "native",
            Mode::Generic => "generic",
        }
    }
}

/// What a server does while there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    Block,
    Spin,
}

impl Wait {
    fn switch(self) -> &'static str {
        match self {
            Wait::Block => "",
            Wait::Spin => "--spin",
        }
    }
}

/// A path of a program that was built beside this one.
pub fn beside(name: &str) -> String {
    let own = std::env::current_exe().expect("this program's path");
    own.with_file_name(name).to_string_lossy().into_owned()
}

/// Where there is no kernel at the contestant's end.
fn without_kernel(mtu: u32) -> BedKind {
    BedKind {
        mtu,
        kernel: false,
        offloads_off: true,
        drops: false,
    }
}

/// Where there is one; the packets are equal to the others' if its offloads are off.
fn with_kernel(mtu: u32, offloads_off: bool) -> BedKind {
    BedKind {
        mtu,
        kernel: true,
        offloads_off,
        drops: false,
    }
}

/// The echo server on ringwire that copies: RECVMSG and RECV into a buffer ring, SEND.
pub fn ringwire(mode: Mode, wait: Wait) -> Contestant {
    let words = format!(
        "--on ringwire --port {PORT} --interface {RING_INTERFACE} --address {RING_V4}/24 --xdp-mode {} {}",
        mode.word(),
        wait.switch()
    );
    Contestant {
        name: match mode {
            Mode::Native => "ringwire native",
            Mode::Generic => "ringwire generic",
        },
        bed: without_kernel(1500),
        line: Line::new(&beside("serve"), &words),
        missing: None,
    }
}

/// The echo server that moves no byte: what is lent is sent from where it lies.
pub fn ringwire_zero_copy(mode: Mode, wait: Wait) -> Contestant {
    let spin = if wait == Wait::Spin {
        "--spin 1000000"
    } else {
        ""
    };
    let words = format!(
        "--zero-copy --no-dad --port {PORT} --interface {RING_INTERFACE} --address {RING_V4}/24 --xdp-mode {} {spin}",
        mode.word()
    );
    Contestant {
        name: match mode {
            Mode::Native => "ringwire native zc",
            Mode::Generic => "ringwire generic zc",
        },
        bed: without_kernel(1500),
        line: Line::new(&beside("echo"), &words),
        missing: None,
    }
}

/// The same text as ringwire's on the kernel's io_uring.
pub fn io_uring(wait: Wait) -> Contestant {
    let words = format!("--on kernel --port {PORT} {}", wait.switch());
    Contestant {
        name: "io_uring",
        bed: with_kernel(1500, false),
        line: Line::new(&beside("serve"), &words),
        missing: None,
    }
}

/// The same without offloads: the packets on the wire are ringwire's.
pub fn io_uring_equal(wait: Wait) -> Contestant {
    Contestant {
        name: "io_uring equal",
        bed: with_kernel(1500, true),
        ..io_uring(wait)
    }
}

/// Both of these with a thread that submits, on the server's core: on two cores there is no other. Shown, not judged.
pub fn with_sqpoll() -> [Contestant; 2] {
    [
        ("ringwire sqpoll", ringwire(Mode::Native, Wait::Block)),
        ("io_uring sqpoll", io_uring(Wait::Block)),
    ]
    .map(|(name, mut contestant)| {
        contestant.name = name;
        contestant.line.words.push("--sqpoll".to_owned());
        contestant
    })
}

/// epoll with recvmmsg(2) and sendmmsg(2), or recv(2) and send(2).
pub fn epoll(wait: Wait) -> Contestant {
    let words = format!("--on epoll --port {PORT} {}", wait.switch());
    Contestant {
        name: "epoll mmsg",
        bed: with_kernel(1500, false),
        line: Line::new(&beside("serve"), &words),
        missing: None,
    }
}

/// A loop on our own AF_XDP layer that exchanges the addresses of each frame. It sums what it receives and what it
/// sends, as ringwire does.
pub fn raw(mode: Mode, wait: Wait) -> Contestant {
    let words = format!(
        "--interface {RING_INTERFACE} --address {RING_V4} --xdp-mode {} --checksums {}",
        mode.word(),
        wait.switch()
    );
    Contestant {
        name: match mode {
            Mode::Native => "raw native",
            Mode::Generic => "raw generic",
        },
        bed: without_kernel(1500),
        line: Line::new(&beside("raw"), &words),
        missing: None,
    }
}

/// The same on xsk-rs, an AF_XDP layer that is not ours.
pub fn raw_xsk_rs(mode: Mode, wait: Wait) -> Contestant {
    let program = std::env::var("RAW_XSK_RS").unwrap_or_default();
    let missing = program.is_empty().then(|| {
        "not built: make bench builds it; it needs clang-14, libclang1-14, m4, libelf-dev and zlib1g-dev (scripts/setup.sh xsk-rs)".to_owned()
    });
    Contestant {
        name: match mode {
            Mode::Native => "xsk-rs native",
            Mode::Generic => "xsk-rs generic",
        },
        line: Line {
            program,
            ..raw(mode, wait).line
        },
        missing,
        ..raw(mode, wait)
    }
}
