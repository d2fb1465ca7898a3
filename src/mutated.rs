//! Texts that are nearly right, for tests of two readers that must agree.

use fastrand::Rng;

const TEXTS: usize = 40_000;

/// The seeds themselves, and then many with up to two changes; `odd` are words that are put in. The same each time.
pub(crate) fn texts(seeds: &[&str], odd: &str) -> impl Iterator<Item = Vec<u8>> {
    let odd: Vec<_> = odd.split_whitespace().collect();
    let mut random = Rng::with_seed(5);
    (0..TEXTS).map(move |n| {
        let mut text = seeds[n % seeds.len()].as_bytes().to_vec();
        for _ in 0..random.usize(0..3).min(n / seeds.len()) {
            mutate(&mut text, &odd, &mut random);
        }
        text
    })
}

/// Cuts something out, puts something in its place, or something from elsewhere, or a byte that is no UTF-8.
fn mutate(text: &mut Vec<u8>, odd: &[&str], random: &mut Rng) {
    let from = random.usize(0..=text.len());
    let to = random.usize(from..=text.len().min(from + 14));
    let put = match random.u8(0..4) {
        0 => vec![],
        1 => text[random.usize(0..=from)..from].to_vec(),
        2 => vec![0xff],
        _ => odd[random.usize(..odd.len())].into(),
    };
    text.splice(from..to, put);
}
