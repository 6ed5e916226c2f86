//! The engine, driven by segments and time.

mod attacks;
mod ecn;
mod flow;
mod loss;
mod mechanisms;
mod path;
mod path_mtu;
mod patience;
mod peer;
mod property;
mod sack;
mod script;
mod states;
mod table;
mod undo;
