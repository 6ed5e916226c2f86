//! Set-ups that fail, each with a typed error that names the cure; and rings that end badly.

use std::process::{Command, Stdio};

use ringwire::{IoUring, SetupError, opcode};
use ringwire_tests::example;
use ringwire_tests::net::{PATIENCE, PEER_V4, RING_INTERFACE, Veth, ip};
use ringwire_tests::privilege::drop_capabilities;
use ringwire_umem::{Layout, Umem};
use ringwire_xsk::{BindMode, Error, Privileges, QueueConfig, Socket};

use crate::server::{Server, builder};

pub const CASES: &[(&str, fn())] = &[
    ("an_interface_that_is_not_there", no_interface),
    ("an_interface_that_is_down", interface_down),
    ("a_link_that_is_too_small", small_mtu),
    ("a_queue_that_is_not_there", no_queue),
    ("no_address_and_too_many", addresses),
    ("an_address_that_the_peer_has", duplicate_address),
    ("sizes_that_io_uring_refuses", sizes),
    ("a_second_program_on_the_interface", foreign_program),
    ("a_queue_that_another_socket_has", queue_taken),
    ("no_capabilities", no_capabilities),
    ("a_umem_above_the_memlock_limit", umem_too_large),
    ("a_killed_process_leaves_nothing_behind", killed),
    ("a_dropped_ring_with_requests_in_flight", dropped),
    ("a_second_thread_gets_eexist", second_thread),
];

fn refused(veth: &Veth, builder: &ringwire::Builder) -> SetupError {
    veth.in_ring(|| builder.build(8))
        .expect_err("the set-up is refused")
}

fn no_interface() {
    let veth = Veth::new(1, 1500, false);
    let error = refused(&veth, builder().interface("nowhere0"));
    assert!(
        matches!(&error, SetupError::Xsk(Error::NoInterface { name }) if name == "nowhere0"),
        "{error:?}"
    );
    assert!(error.to_string().contains("ip link"), "{error}");
    let error = <IoUring>::builder()
        .build(8)
        .expect_err("no interface was named");
    assert!(matches!(error, SetupError::NoInterface), "{error:?}");
}

fn small_mtu() {
    let veth = Veth::new(1, 1500, false);
    veth.in_ring(|| ip("link set rw0 mtu 1200"));
    let error = refused(&veth, &builder());
    assert!(
        matches!(
            &error,
            SetupError::SmallMtu {
                mtu: 1200,
                least: 1280,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("ip link set dev rw0 mtu 1280"),
        "{error}"
    );
}

fn interface_down() {
    let veth = Veth::new(1, 1500, false);
    veth.in_ring(|| ip("link set rw0 down"));
    let error = refused(&veth, &builder());
    assert!(
        matches!(&error, SetupError::Xsk(Error::InterfaceDown { .. })),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("ip link set dev rw0 up"),
        "{error}"
    );
}

fn no_queue() {
    let veth = Veth::new(2, 1500, false);
    let error = refused(&veth, builder().queues(&[0, 2]));
    assert!(
        matches!(
            &error,
            SetupError::Xsk(Error::NoSuchQueue {
                queue: 2,
                available: 2,
                ..
            })
        ),
        "{error:?}"
    );
    assert!(error.to_string().contains("ethtool -L"), "{error}");
}

fn addresses() {
    let veth = Veth::new(1, 1500, false);
    let mut none = IoUring::builder();
    let error = refused(&veth, none.interface(RING_INTERFACE));
    assert!(matches!(error, SetupError::NoAddress(_)), "{error:?}");
    let mut many = builder();
    for host in 10..20 {
        many.address(format!("10.7.0.{host}/24").parse().expect("an address"));
    }
    assert!(matches!(
        refused(&veth, &many),
        SetupError::TooManyAddresses(12)
    ));
}

fn duplicate_address() {
    let veth = Veth::new(1, 1500, false);
    let mut taken = IoUring::builder();
    taken
        .interface(RING_INTERFACE)
        .address(format!("{PEER_V4}/24").parse().expect("an address"));
    let error = refused(&veth, &taken);
    let peer = veth
        .in_peer(|| ringwire_xsk::Interface::by_name("rw1"))
        .expect("the peer's interface")
        .mac;
    assert!(
        matches!(&error, SetupError::AddressTaken { mac, .. } if *mac == peer),
        "{error:?}"
    );
}

fn sizes() {
    let veth = Veth::new(1, 1500, false);
    for entries in [0, 32769] {
        let error = veth
            .in_ring(|| builder().build(entries))
            .expect_err("refused");
        assert_eq!(
            std::io::Error::from(error).raw_os_error(),
            Some(libc::EINVAL),
            "{entries}"
        );
    }
    assert!(matches!(
        refused(&veth, builder().setup_defer_taskrun()),
        SetupError::Ring(_)
    ));
}

fn foreign_program() {
    let veth = Veth::new(1, 1500, false);
    let _first = Server::new(&veth, &builder());
    let error = refused(&veth, &builder());
    assert!(
        matches!(&error, SetupError::Xsk(Error::ForeignProgram { .. })),
        "{error:?}"
    );
    assert!(error.to_string().contains("xdp off"), "{error}");
}

fn queue_taken() {
    let veth = Veth::new(1, 1500, false);
    let layout = Layout {
        chunk_bytes: 4096,
        rx_chunks: 8,
        header_chunks: 0,
        send_chunks: 1,
        lend_reserve_chunks: 0,
        areas: vec![],
    };
    let umem = Umem::new(layout).expect("memory");
    let _taken = veth.in_ring(|| {
        let config = QueueConfig {
            ifindex: ringwire_xsk::Interface::by_name(RING_INTERFACE)
                .expect("the interface")
                .index,
            ifname: RING_INTERFACE,
            queue: 0,
            umem: &umem,
            shared_with: None,
            rx_entries: 8,
            tx_entries: 8,
            fill_entries: 8,
            completion_entries: 8,
            fill: &[],
            mode: BindMode::Copy,
            scatter: false,
            tx_checksum: false,
            privileges: Privileges::default(),
        };
        Socket::open(&config).expect("a socket that somebody else has")
    });
    let error = refused(&veth, &builder());
    assert!(
        matches!(&error, SetupError::Xsk(Error::QueueTaken { queue: 0, .. })),
        "{error:?}"
    );
    assert!(error.to_string().contains("ss --xdp"), "{error}");
}

/// Capabilities are a thread's own: one gives its up, and the others keep theirs.
fn no_capabilities() {
    let veth = Veth::new(1, 1500, false);
    // A thread begins in the network namespace of the one that made it.
    let build = || {
        drop_capabilities();
        builder().build(8).expect_err("the set-up is refused")
    };
    let error = veth
        .in_ring(|| std::thread::spawn(build).join())
        .expect("the thread's error");
    assert!(
        matches!(&error, SetupError::Xsk(Error::MissingCapability { .. })),
        "{error:?}"
    );
    assert!(error.to_string().contains("setcap"), "{error}");
}

fn echo_command(limit_memlock: bool) -> Command {
    let mut command = Command::new(example("echo"));
    command.args([
        "--interface",
        RING_INTERFACE,
        "--address",
        "10.7.0.2/24",
        "--port",
        "7000",
        "--no-dad",
    ]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    if limit_memlock {
        use std::os::unix::process::CommandExt;
        let limit = || {
            // SAFETY: plain system calls, allowed between fork and exec.
            unsafe {
                let limit = libc::rlimit {
                    rlim_cur: 64 << 10,
                    rlim_max: 64 << 10,
                };
                libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit);
                const CAP_IPC_LOCK: libc::c_ulong = 14;
                libc::prctl(libc::PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0);
            }
            Ok(())
        };
        // SAFETY: the closure only makes system calls.
        unsafe { command.pre_exec(limit) };
    }
    command
}

fn umem_too_large() {
    let veth = Veth::new(1, 1500, false);
    let output = veth
        .in_ring(|| echo_command(true).output())
        .expect("the echo example");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && text.contains("ulimit -l"),
        "{text}"
    );
}

fn killed() {
    let veth = Veth::new(1, 1500, false);
    let mut echo = veth
        .in_ring(|| echo_command(false).spawn())
        .expect("the echo example");
    let mut output = std::io::BufReader::new(echo.stdout.take().expect("its output"));
    let mut line = String::new();
    while !line.starts_with("listening") {
        line.clear();
        let read = std::io::BufRead::read_line(&mut output, &mut line).expect("its output");
        assert!(read > 0, "the echo example listens");
    }
    echo.kill().expect("SIGKILL");
    echo.wait().expect("its end");
    // The kernel frees the link after the process: `build` would say ForeignProgram until then.
    let deadline = std::time::Instant::now() + PATIENCE;
    let attached = || {
        let output = veth.in_ring(|| {
            Command::new("ip")
                .args(["-d", "link", "show", "rw0"])
                .output()
        });
        String::from_utf8_lossy(&output.expect("the ip command").stdout).contains("prog/xdp")
    };
    while attached() {
        assert!(
            std::time::Instant::now() < deadline,
            "the program is detached"
        );
        std::thread::yield_now();
    }
    let mut server = Server::new(&veth, &builder());
    server.echo(&veth.peer_socket(PEER_V4), b"again");
}

fn dropped() {
    let veth = Veth::new(1, 1500, false);
    let peer = veth.peer_socket(PEER_V4);
    for _ in 0..3 {
        let mut server = Server::new(&veth, &builder());
        server.echo(&peer, b"hello");
        let mut buffer = [0u8; 16];
        let receive =
            ringwire::opcode::Recv::new(ringwire::types::Fixed(0), buffer.as_mut_ptr(), 16).build();
        server.push(&receive);
        server.ring.submit().expect("a turn");
    }
}

fn second_thread() {
    let veth = Veth::new(1, 1500, false);
    let free = Server::new(&veth, &builder());
    let ring = &free.ring;
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(ring.submit().expect("a ring may move"), 0));
    });
    drop(free);
    let mut single = builder();
    single.setup_single_issuer();
    let mut bound = Server::new(&veth, &single);
    // Without anything to submit the kernel lets anybody enter.
    bound.push(&opcode::Nop::new().build());
    let ring = &bound.ring;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let error = ring.submit().expect_err("another thread's ring");
            assert_eq!(error.raw_os_error(), Some(libc::EEXIST));
        });
    });
    assert_eq!(ring.submit().expect("our own ring"), 1);
}
