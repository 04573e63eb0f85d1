/// A 2-D image: `width` columns and `height` rows of samples, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame<T = f32> {
    pub width: usize,
    pub height: usize,
    /// Millimetres per pixel along a row and down a column, where known. Without it nothing
    /// measured on the frame can be in millimetres.
    pub spacing: Option<[f64; 2]>,
    pub data: Vec<T>,
}
