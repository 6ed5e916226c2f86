//! What the user of a socket chooses (tcp(7)), and can change at any time.

use std::time::Duration;

use crate::ack::QUICK_SEGMENTS;
use crate::congestion::Algorithm;
use crate::connection::Connection;
use crate::time::Instant;

/// Keepalive probes (RFC 1122, section 4.2.3.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// `SO_KEEPALIVE`.
    pub enabled: bool,
    /// `TCP_KEEPIDLE`: silence before the first probe.
    pub idle: Duration,
    /// `TCP_KEEPINTVL`: time between probes.
    pub interval: Duration,
    /// `TCP_KEEPCNT`: probes without an answer that end the connection.
    pub count: u8,
}

impl Default for KeepAlive {
    /// Off, and Linux's times: two hours, 75 seconds, nine probes.
    fn default() -> KeepAlive {
        KeepAlive {
            enabled: false,
            idle: Duration::from_secs(7200),
            interval: Duration::from_secs(75),
            count: 9,
        }
    }
}

/// The options of a socket. The defaults are Linux's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpOptions {
    /// `TCP_NODELAY`: small segments do not wait.
    pub no_delay: bool,
    /// `TCP_CORK`: segments that are not full wait, 200 ms at most.
    pub cork: bool,
    /// `TCP_QUICKACK`: segments are acknowledged at once, until the connection shows itself to be an
    /// interactive one.
    pub quick_ack: bool,
    /// `TCP_MAXSEG`: the most payload of a segment either way, options included. Before connecting only.
    pub max_segment: Option<u16>,
    /// Keepalive.
    pub keep_alive: KeepAlive,
    /// `TCP_USER_TIMEOUT`: how long data may stay unacknowledged, or unsent for want of a window,
    /// before the connection fails (RFC 5482); `None`: by the number of retransmissions.
    pub user_timeout: Option<Duration>,
    /// `TCP_CONGESTION`.
    pub algorithm: Algorithm,
    /// `TCP_SYNCNT`: retransmissions of a SYN before connecting fails.
    pub syn_retries: u8,
    /// Whether our SYN asks for ECN (RFC 3168). That of a peer is always granted (`tcp_ecn` = 2).
    pub ecn: bool,
}

impl Default for TcpOptions {
    fn default() -> TcpOptions {
        TcpOptions {
            no_delay: false,
            cork: false,
            quick_ack: true,
            max_segment: None,
            keep_alive: KeepAlive::default(),
            user_timeout: None,
            algorithm: Algorithm::default(),
            syn_retries: 6,
            ecn: false,
        }
    }
}

impl Connection {
    /// The options as they are now.
    pub fn options(&self) -> TcpOptions {
        TcpOptions {
            quick_ack: self.ack.is_quick(),
            ..self.config.options
        }
    }

    /// Changes options. What was waiting for one of them goes.
    pub fn set_options(&mut self, now: Instant, options: TcpOptions) {
        let before = self.options();
        self.config.options = options;
        self.nagle.no_delay = options.no_delay;
        if before.cork != options.cork {
            self.nagle.cork = options.cork;
            if !options.cork {
                self.nagle.more = false;
                self.timers.cork = None;
            }
        }
        if options.quick_ack != before.quick_ack {
            self.ack
                .set_quick(if options.quick_ack { QUICK_SEGMENTS } else { 0 });
        }
        if options.algorithm != before.algorithm {
            self.congestion.choose(options.algorithm);
        }
        // The others count from the next probe on.
        let begins = |settings: KeepAlive| (settings.enabled, settings.idle);
        if begins(options.keep_alive) != begins(before.keep_alive) {
            self.arm_keep_alive(now);
        }
    }
}
