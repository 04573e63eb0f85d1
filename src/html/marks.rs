//! What plots show.

/// One plot and the words around it.
#[derive(Debug, Clone)]
pub struct Plot {
    pub title: String,
    /// One sentence on how to read it.
    pub how_to_read: String,
    /// What the horizontal axis counts, with the unit.
    pub x: String,
    /// What the vertical axis counts, with the unit; not used by strips, whose groups have names.
    pub y: String,
    pub marks: Marks,
}

/// What is drawn. Values that are not finite are left out.
#[derive(Debug, Clone)]
pub enum Marks {
    /// One dot per case (before, after), and the diagonal on which nothing changed.
    PairedScatter(Vec<[f64; 2]>),
    /// A row of dots and a box (quartiles and median) per group and series, along the horizontal
    /// axis, so that long names and many groups have room.
    Strips {
        /// Names of the series; one series needs no name.
        series: Vec<String>,
        /// Name of each group, and its values per series.
        groups: Vec<(String, Vec<Vec<f64>>)>,
    },
    /// How many values lie in each of some equal intervals.
    Histogram(Vec<f64>),
    /// Lines from the lower left, by name; the last, which is the one to look at, is drawn thicker.
    Curves(Vec<(String, Vec<[f64; 2]>)>),
    /// Dots (time or number, value) by name, each series with a line through it where they are few;
    /// the values' axis begins at zero.
    Series(Vec<(String, Vec<[f64; 2]>)>),
    /// One dot per case (mean of two values, their difference), a line at the mean difference and
    /// two at the limits of agreement.
    Agreement { points: Vec<[f64; 2]>, bias: f64, limits: Option<[f64; 2]> },
    /// Counts in a table, darker the larger their share of the row.
    Matrix { rows: Vec<String>, columns: Vec<String>, counts: Vec<Vec<usize>> },
}
