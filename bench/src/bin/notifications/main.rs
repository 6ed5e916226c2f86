//! What zero-copy sends and their notifications cost.
//!
//!     notifications [ROUNDS]                the tables
//!     notifications veth [ROUNDS]           over veth (needs the privilege to make namespaces)
//!     notifications WAY BYTES COUNT         one way, in memory, without a clock: for an instruction counter

mod bundles;
mod cost;
mod rig;
mod stream;
mod table;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |word: Option<&String>| word.and_then(|word| word.parse().ok());
    match &words[..] {
        [way, bytes, count] => {
            let way = table::WAYS.iter().find(|it| it.0 == way);
            let bytes = bytes.parse().expect("a number of bytes");
            let count = count.parse().expect("a number of requests");
            table::count(way.expect("a way").1, bytes, count);
        }
        [veth, rounds @ ..] if veth == "veth" => {
            table::over_veth(number(rounds.first()).unwrap_or(5))
        }
        rounds => {
            let rounds = number(rounds.first()).unwrap_or(7);
            table::in_memory(rounds);
            cost::table(rounds);
            bundles::table(rounds);
        }
    }
}
