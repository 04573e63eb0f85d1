//! Rows of a frame that are already resized along x.

/// The last `N` rows that were asked for, so that neighbors share them.
pub(super) struct Rows<R, const N: usize> {
    rows: [(Option<u32>, Vec<R>); N],
}

impl<R: Copy + Default, const N: usize> Rows<R, N> {
    /// Rows of `width` numbers.
    pub fn new(width: usize) -> Self {
        Rows { rows: std::array::from_fn(|_| (None, vec![R::default(); width])) }
    }

    /// The rows `wanted`, ascending; `compute` fills one that is not at hand.
    pub fn of(&mut self, wanted: [u32; N], mut compute: impl FnMut(usize, &mut [R])) -> [&[R]; N] {
        let mut held = [0; N];
        for (i, y) in wanted.into_iter().enumerate() {
            held[i] = match self.rows.iter().position(|(at, _)| *at == Some(y)) {
                Some(slot) => slot,
                None => {
                    // One of `N` places holds nothing of the `N` rows, of which this is one.
                    let free = |at: &Option<u32>| at.is_none_or(|at| !wanted.contains(&at));
                    let slot = self.rows.iter().position(|(at, _)| free(at)).unwrap_or(0);
                    compute(y as usize, &mut self.rows[slot].1);
                    self.rows[slot].0 = Some(y);
                    slot
                }
            };
        }
        held.map(|slot| self.rows[slot].1.as_slice())
    }
}
