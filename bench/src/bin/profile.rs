use ringwire_bench::hosts;
fn main() {
    let arg = |n: usize| std::env::args().nth(n).unwrap().parse::<usize>().unwrap();
    let (conns, active, segs, turns) = (arg(1), arg(2), arg(3), arg(4));
    let mut pair = hosts::Pair::new();
    pair.connect(conns - 1);
    let source = vec![7; segs * hosts::SEGMENT_BYTES];
    let mut sink = vec![0; 256 << 10];
    let clients = pair.clients[..active].to_vec();
    let mut turn = clients.iter().copied().cycle();
    for _ in 0..turns {
        let now: Vec<_> = turn.by_ref().take(64 / segs).collect();
        pair.turn(&now, &source, &mut sink);
    }
}
