// The oracle's text about TCP: what moves through a connection. It is compiled twice, beside text.rs.

pub const TRANSFER_CASES: &[(&str, Case)] = &[];
