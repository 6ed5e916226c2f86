//! Paths that swallow long segments (RFC 4821).

use super::peer::{connected, with_blocks};
use super::script::{MSS, Script, config, ms, segment};

/// A connection with a full segment outstanding that is missing, and four of these lengths behind it that
/// are sacked.
fn first_is_missing(len: u32) -> Script {
    let mut script = connected(config(), false, ms(40));
    script.choose(|options| options.no_delay = true);
    for len in [MSS, len, len, len, len] {
        script.push(len);
        assert_eq!(script.sent_one().len, len);
    }
    script.skip(ms(40));
    let _ = script.answer(with_blocks(segment(0, 0, 0), &[(MSS, MSS + 4 * len)]));
    script
}

/// How many timeouts it takes until shorter segments are tried.
fn timeouts(script: &mut Script) -> u32 {
    (1..20)
        .find(|_| {
            let again = script.connection.info(script.now).retransmits;
            while script.connection.info(script.now).retransmits == again {
                let _ = script.fire_within(ms(200_000));
                script.sent();
            }
            script.connection.send_mss() < MSS
        })
        .expect("shorter segments")
}

#[test]
fn long_segments_that_have_arrived_behind_it_make_a_loss_likelier() {
    assert_eq!(timeouts(&mut first_is_missing(MSS - 1)), 6);
}

#[test]
fn segments_that_every_path_takes_prove_nothing_of_longer_ones() {
    assert_eq!(timeouts(&mut first_is_missing(536)), 3);
}
