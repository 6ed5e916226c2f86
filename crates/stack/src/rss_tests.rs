use super::*;

/// The key of Microsoft's verification suite ("Verifying the RSS hash calculation").
const KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
    0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
    0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

/// Destination, source, the hash of the addresses, and that of addresses and ports.
const ANSWERS: [(&str, &str, u32, u32); 8] = [
    (
        "161.142.100.80:1766",
        "66.9.149.187:2794",
        0x323e_8fc2,
        0x51cc_c178,
    ),
    (
        "65.69.140.83:4739",
        "199.92.111.2:14230",
        0xd718_262a,
        0xc626_b0ea,
    ),
    (
        "12.22.207.184:38024",
        "24.19.198.95:12898",
        0xd2d0_a5de,
        0x5c2b_394a,
    ),
    (
        "209.142.163.6:2217",
        "38.27.205.30:48228",
        0x8298_9176,
        0xafc7_327f,
    ),
    (
        "202.188.127.2:1303",
        "153.39.163.191:44251",
        0x5d18_09c5,
        0x10e8_28a2,
    ),
    (
        "[3ffe:2501:200:3::1]:1766",
        "[3ffe:2501:200:1fff::7]:2794",
        0x2cc1_8cd5,
        0x4020_7d3d,
    ),
    (
        "[ff02::1]:4739",
        "[3ffe:501:8::260:97ff:fe40:efab]:14230",
        0x0f0c_461c,
        0xdde5_1bbf,
    ),
    (
        "[fe80::200:f8ff:fe21:67cf]:38024",
        "[3ffe:1900:4545:3:200:f8ff:fe21:67cf]:44251",
        0x4b61_e985,
        0x02d1_feef,
    ),
];

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn hashes_are_those_of_the_verification_suite() {
    for (destination, source, addresses, with_ports) in ANSWERS {
        let (destination, source) = (at(destination), at(source));
        let hash = |ports| toeplitz(&KEY, &input(source, destination, ports));
        assert_eq!(hash(false), addresses, "{source} to {destination}");
        assert_eq!(hash(true), with_ports, "{source} to {destination}");
    }
}

#[test]
fn the_low_bits_of_the_hash_name_the_entry_of_the_table() {
    let fields = HashedFields {
        tcp_v4: HashFields::AddressesAndPorts,
        tcp_v6: HashFields::AddressesAndPorts,
        ..HashedFields::default()
    };
    for (destination, source, _, hash) in ANSWERS {
        for ours in 0..16 {
            let table = (0..16).map(|entry| entry == ours).collect();
            let rss = Rss::new(KEY.to_vec(), table, fields).unwrap();
            let here = rss.arrives_here(at(source), at(destination));
            assert_eq!(here, hash % 16 == ours, "{source}, entry {ours}");
        }
    }
}

#[test]
fn only_where_ports_are_hashed_does_a_port_decide() {
    let fields = HashedFields {
        tcp_v4: HashFields::AddressesAndPorts,
        udp_v4: HashFields::Addresses,
        ..HashedFields::default()
    };
    let rss = Rss::new(KEY.to_vec(), vec![true, false], fields).unwrap();
    let (v4, v6) = (at("10.0.0.1:1").ip(), at("[fd00::1]:1").ip());
    assert!(rss.depends_on_port(Protocol::Tcp, v4));
    assert!(!rss.depends_on_port(Protocol::Udp, v4));
    assert!(!rss.depends_on_port(Protocol::Tcp, v6));
}

#[test]
fn where_every_queue_is_ours_or_none_is_there_is_nothing_to_choose() {
    let fields = HashedFields::default();
    for table in [vec![], vec![true; 8], vec![false; 8]] {
        assert_eq!(Rss::new(KEY.to_vec(), table, fields), None);
    }
    assert_eq!(
        Rss::new(KEY[..39].to_vec(), vec![true, false], fields),
        None
    );
}
