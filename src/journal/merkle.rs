//! The Merkle tree of RFC 6962, section 2.1: roots kept incrementally, inclusion and consistency proofs.

use sha2::{Digest, Sha256};

/// A SHA-256.
pub type Hash = [u8; 32];

/// The hash of a leaf: `SHA-256(00 || bytes)`.
#[must_use]
pub fn leaf_hash(bytes: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(bytes).finalize().into()
}

/// The hash of an inner node: `SHA-256(01 || left || right)`.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// A growing tree of which only the frontier is kept: the roots of its perfect subtrees, largest first.
///
/// Appending and the root both take O(log n).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    frontier: Vec<Hash>,
}

impl Tree {
    /// Goes on from a frontier; `None` if it does not have one hash for each bit that is set in `size`.
    #[must_use]
    pub fn from_frontier(size: u64, frontier: Vec<Hash>) -> Option<Self> {
        (frontier.len() == size.count_ones() as usize).then_some(Self { size, frontier })
    }

    /// Appends a leaf by its hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        // One perfect subtree is completed for each bit that the increment carries over.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.frontier.pop() {
                hash = node_hash(&left, &hash);
            }
        }
        self.frontier.push(hash);
        self.size += 1;
    }

    /// The tree's head; of an empty tree the SHA-256 of nothing.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut subtrees = self.frontier.iter().rev();
        let Some(last) = subtrees.next() else {
            return Sha256::digest([]).into();
        };
        subtrees.fold(*last, |right, left| node_hash(left, &right))
    }

    /// Leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the perfect subtrees, largest first.
    #[must_use]
    pub fn frontier(&self) -> &[Hash] {
        &self.frontier
    }
}

/// The root over all these leaf hashes.
#[must_use]
pub fn root(leaves: &[Hash]) -> Hash {
    let mut tree = Tree::default();
    for leaf in leaves {
        tree.push(*leaf);
    }
    tree.root()
}

/// The proof that leaf `index` is in the tree of these leaves (`PATH`, RFC 6962 2.1.1), nearest sibling first.
///
/// `None` if there is no such leaf.
#[must_use]
pub fn inclusion_proof(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    if index >= leaves.len() {
        return None;
    }
    let (mut leaves, mut index, mut path) = (leaves, index, Vec::new());
    while leaves.len() > 1 {
        let (left, right) = leaves.split_at(split(leaves.len()));
        if index < left.len() {
            path.push(root(right));
            leaves = left;
        } else {
            path.push(root(left));
            index -= left.len();
            leaves = right;
        }
    }
    path.reverse();
    Some(path)
}

/// Whether the proof shows that `leaf` is number `index` of the `size` leaves under `root`.
#[must_use]
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    // RFC 9162 2.1.3.2, which states the algorithm for RFC 6962's trees.
    let (mut node, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// The proof that the tree of the first `old` leaves is the beginning of the tree of all (`PROOF`, RFC 6962 2.1.2).
///
/// Empty where `old` is 0 or all; `None` if there are fewer leaves than `old`.
#[must_use]
pub fn consistency_proof(leaves: &[Hash], old: usize) -> Option<Vec<Hash>> {
    if old > leaves.len() {
        return None;
    }
    if old == 0 || old == leaves.len() {
        return Some(Vec::new());
    }
    let (mut leaves, mut old, mut whole, mut proof) = (leaves, old, true, Vec::new());
    while old != leaves.len() {
        let (left, right) = leaves.split_at(split(leaves.len()));
        if old <= left.len() {
            proof.push(root(right));
            leaves = left;
        } else {
            proof.push(root(left));
            old -= left.len();
            leaves = right;
            whole = false;
        }
    }
    if !whole {
        proof.push(root(leaves));
    }
    proof.reverse();
    Some(proof)
}

/// Whether the proof shows that the tree of `old` leaves under `old_root` is the beginning of the tree of `size`
/// leaves under `root`. Every tree begins with the empty one.
#[must_use]
pub fn verify_consistency(old: u64, size: u64, proof: &[Hash], old_root: &Hash, root: &Hash) -> bool {
    if old > size {
        return false;
    }
    if old == 0 {
        return proof.is_empty() && *old_root == Tree::default().root();
    }
    if old == size {
        return proof.is_empty() && old_root == root;
    }
    // RFC 9162 2.1.4.2.
    let mut steps = proof.iter();
    let first = if old.is_power_of_two() { Some(old_root) } else { steps.next() };
    let Some(first) = first else {
        return false;
    };
    let (mut node, mut last) = (old - 1, size - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut from_old, mut from_new) = (*first, *first);
    for step in steps {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            from_old = node_hash(step, &from_old);
            from_new = node_hash(step, &from_new);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            from_new = node_hash(&from_new, step);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && from_old == *old_root && from_new == *root
}

/// The largest power of two smaller than `n`; `n` is at least 2.
fn split(n: usize) -> usize {
    1 << (n - 1).ilog2()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    /// MTH of RFC 6962 2.1, word for word.
    fn naive_root(leaves: &[Vec<u8>]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [one] => leaf_hash(one),
            many => {
                let k = (1..many.len()).rev().find(|k| k.is_power_of_two()).unwrap();
                node_hash(&naive_root(&many[..k]), &naive_root(&many[k..]))
            }
        }
    }

    /// PATH of RFC 6962 2.1.1, word for word.
    fn naive_path(m: usize, leaves: &[Vec<u8>]) -> Vec<Hash> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let k = (1..leaves.len()).rev().find(|k| k.is_power_of_two()).unwrap();
        let (mut path, sibling) = if m < k {
            (naive_path(m, &leaves[..k]), naive_root(&leaves[k..]))
        } else {
            (naive_path(m - k, &leaves[k..]), naive_root(&leaves[..k]))
        };
        path.push(sibling);
        path
    }

    /// SUBPROOF of RFC 6962 2.1.2, word for word.
    fn naive_subproof(m: usize, leaves: &[Vec<u8>], whole: bool) -> Vec<Hash> {
        if m == leaves.len() {
            return if whole { Vec::new() } else { vec![naive_root(leaves)] };
        }
        let k = (1..leaves.len()).rev().find(|k| k.is_power_of_two()).unwrap();
        let (mut proof, sibling) = if m <= k {
            (naive_subproof(m, &leaves[..k], whole), naive_root(&leaves[k..]))
        } else {
            (naive_subproof(m - k, &leaves[k..], false), naive_root(&leaves[..k]))
        };
        proof.push(sibling);
        proof
    }

    fn data(n: usize) -> Vec<Vec<u8>> {
        (0..n).map(|i| format!("entry {i}").into_bytes()).collect()
    }

    #[test]
    fn roots_and_proofs_are_those_of_the_rfcs_recursion() {
        for n in 0..=33 {
            let data = data(n);
            let leaves: Vec<Hash> = data.iter().map(|d| leaf_hash(d)).collect();
            let head = root(&leaves);
            assert_eq!(head, naive_root(&data), "root of {n}");
            for index in 0..n {
                let proof = inclusion_proof(&leaves, index).unwrap();
                assert_eq!(proof, naive_path(index, &data), "path of {index} in {n}");
                for (other, leaf) in leaves.iter().enumerate() {
                    let shown = verify_inclusion(leaf, other as u64, n as u64, &proof, &head);
                    assert_eq!(shown, other == index, "{other} by the proof of {index} in {n}");
                }
                for i in 0..proof.len() {
                    let mut bent = proof.clone();
                    bent[i][0] ^= 1;
                    assert!(!verify_inclusion(&leaves[index], index as u64, n as u64, &bent, &head));
                }
                let mut longer = proof.clone();
                longer.push(head);
                assert!(!verify_inclusion(&leaves[index], index as u64, n as u64, &longer, &head));
            }
            for old in 1..=n {
                let proof = consistency_proof(&leaves, old).unwrap();
                assert_eq!(proof, naive_subproof(old, &data, true), "consistency of {old} with {n}");
                let old_head = root(&leaves[..old]);
                assert!(verify_consistency(old as u64, n as u64, &proof, &old_head, &head), "{old} in {n}");
                assert!(!verify_consistency(old as u64, n as u64, &proof, &[7; 32], &head));
                assert!(!verify_consistency(old as u64, n as u64, &proof, &old_head, &[7; 32]));
            }
        }
        assert_eq!(inclusion_proof(&[], 0), None);
        assert_eq!(consistency_proof(&[], 1), None);
    }

    #[test]
    fn a_tree_goes_on_from_its_frontier() {
        let mut tree = Tree::default();
        for (i, bytes) in data(100).iter().enumerate() {
            assert_eq!(tree.size(), i as u64);
            tree = Tree::from_frontier(tree.size(), tree.frontier().to_vec()).unwrap();
            tree.push(leaf_hash(bytes));
        }
        assert_eq!(tree.root(), naive_root(&data(100)));
        assert_eq!(Tree::from_frontier(3, vec![[0; 32]]), None);
    }

    #[test]
    fn an_independent_implementation_agrees() {
        // Written by tests/golden/merkle.py, which knows only hashlib.
        let golden = include_str!("../../tests/golden/merkle.txt");
        let hash = |text: &str| -> Hash { hex::decode(text).unwrap().try_into().unwrap() };
        let mut lines = 0;
        for line in golden.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |i: usize| words[i].parse::<usize>().unwrap();
            let hashes = |i: usize| words[i..].iter().map(|w| hash(w)).collect::<Vec<_>>();
            let leaves = |n: usize| data(n).iter().map(|d| leaf_hash(d)).collect::<Vec<_>>();
            match words[0] {
                "root" => assert_eq!(root(&leaves(number(1))), hash(words[2])),
                "inclusion" => assert_eq!(inclusion_proof(&leaves(number(2)), number(1)), Some(hashes(3))),
                "consistency" => assert_eq!(consistency_proof(&leaves(number(2)), number(1)), Some(hashes(3))),
                other => unreachable!("{other}"),
            }
            lines += 1;
        }
        assert!(lines > 60, "{lines}");
    }
}
