//! Peers that mean harm, and hosts on the way that do: what is lost to them, and what they cost.

mod blind;
mod cookies;
mod failures;
mod flood;
mod flow;
mod icmp;
mod peer;
mod resources;
mod timers;
