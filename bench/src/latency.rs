//! Times of round trips, counted in buckets whose width is at most 1/32 of the time: what HdrHistogram does, without
//! memory that grows.

/// Buckets to an octave, as a power of two.
const FINENESS: u32 = 5;
const OCTAVES: u32 = 40;

/// Times in nanoseconds.
pub struct Times {
    buckets: Vec<u64>,
    count: u64,
}

impl Default for Times {
    fn default() -> Times {
        Times {
            buckets: vec![0; (OCTAVES << FINENESS) as usize],
            count: 0,
        }
    }
}

impl Times {
    /// Counts a time.
    pub fn record(&mut self, nanos: u64) {
        let last = self.buckets.len() - 1;
        self.buckets[index(nanos).min(last)] += 1;
        self.count += 1;
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.buckets.fill(0);
        self.count = 0;
    }

    /// The time that this share of them does not exceed; 0 if there are none.
    pub fn quantile(&self, share: f64) -> u64 {
        let wanted = (self.count as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted.max(1) {
                return middle(index);
            }
        }
        0
    }
}

/// Below 2^FINENESS each time has a bucket of its own; each octave above has as many.
fn index(nanos: u64) -> usize {
    let octave = (u64::BITS - nanos.leading_zeros()).saturating_sub(FINENESS + 1);
    (octave << FINENESS) as usize + (nanos >> octave) as usize
}

/// The middle of a bucket.
fn middle(index: usize) -> u64 {
    let own = 1 << FINENESS;
    if index < 2 * own {
        return index as u64;
    }
    let octave = index / own - 1;
    let first = ((index % own + own) as u64) << octave;
    first + (1 << (octave - 1))
}

#[cfg(test)]
#[path = "latency_tests.rs"]
mod tests;
