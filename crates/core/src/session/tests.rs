//! int8 networks give the same bits on every CPU: their sums are of integers, and what is done
//! with a sum is the same operations in the same order everywhere.

use super::*;
use crate::package::{find, sha256};

/// SHA-256 of what the demo's networks answer to its golden input, little-endian f32. They change
/// with the demo's package only.
const ANSWERS: [(&str, &str); 2] = [
    ("affine", "3484492018485213d4583f1db53ff9330e755102f507bdada20bf44705e567a6"),
    ("flow1", "c887e7a0d34a88efd3ff269e2706eed043c70d4c1f19c4311f47aaf949e51848"),
];

fn answers(input: &[f32], simd: Simd, threads: usize) -> Vec<(String, String)> {
    let options = SessionOptions { simd, ..SessionOptions::with_threads(threads) };
    let session = Session::new(find("demo").unwrap(), options).unwrap();
    let graphs = session.package().manifest.graphs.iter().enumerate();
    let digests = graphs.map(|(index, graph)| {
        let mut heads = Vec::new();
        session.run(index, input, &mut heads).unwrap();
        let bytes: Vec<u8> = heads.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
        (graph.name.clone(), sha256(&bytes))
    });
    digests.collect()
}

#[test]
fn int8_networks_give_the_same_bits_everywhere() {
    let package = find("demo").unwrap();
    let seed = package.golden().unwrap().phantom_seed;
    let input = golden_input(&package.manifest, seed).unwrap();
    let all = Simd::all().into_iter().map(|simd| (simd, 2));
    let widest = [1, 3, 7].map(|threads| (Simd::detect(), threads));
    for (simd, threads) in all.chain(widest) {
        let expected = ANSWERS.map(|(graph, digest)| (graph.to_string(), digest.to_string()));
        assert_eq!(answers(&input, simd, threads), expected, "{simd}, {threads} threads");
    }
}
