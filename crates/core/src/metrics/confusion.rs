use serde::Serialize;

/// Which class was seen where which was true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Confusion {
    pub classes: Vec<String>,
    /// A row per true class; in it a count per seen class, and last that of no class at all.
    pub counts: Vec<Vec<usize>>,
}

impl Confusion {
    pub fn new(classes: &[String]) -> Self {
        let counts = vec![vec![0; classes.len() + 1]; classes.len()];
        Confusion { classes: classes.to_vec(), counts }
    }

    /// Counts one case.
    ///
    /// # Panics
    /// If `truth` is none of the classes. What is seen and none of them counts as no class.
    pub fn add(&mut self, truth: &str, seen: Option<&str>) {
        let place = |name: &str| self.classes.iter().position(|c| c == name);
        let row = place(truth).expect("a true class is one of the classes");
        let column = seen.and_then(place).unwrap_or(self.classes.len());
        self.counts[row][column] += 1;
    }

    /// The share of cases whose class was seen; `None` without a case.
    pub fn accuracy(&self) -> Option<f64> {
        let all: usize = self.counts.iter().flatten().sum();
        let right: usize = (0..self.classes.len()).map(|i| self.counts[i][i]).sum();
        (all > 0).then(|| right as f64 / all as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_counted_once_in_the_row_of_its_truth() {
        let mut confusion = Confusion::new(&["a", "b"].map(String::from));
        assert_eq!(confusion.accuracy(), None);
        let seen = [("a", Some("a")), ("a", Some("b")), ("b", Some("b")), ("b", None)];
        seen.into_iter().for_each(|(truth, seen)| confusion.add(truth, seen));
        assert_eq!(confusion.counts, [[1, 1, 0], [0, 1, 1]]);
        assert_eq!(confusion.accuracy(), Some(0.5));
    }
}
