//! A report as one self-contained HTML page: inline styles, inline SVG, no script, nothing loaded
//! from elsewhere, no date. The same content gives the same bytes.

mod marks;
#[cfg(feature = "plots")]
mod plot;

use std::fmt::Write;

pub use marks::{Marks, Plot};

/// What a report says, in the order it stands on the page. All texts are plain; they are escaped
/// when the page is made.
#[derive(Debug, Clone, Default)]
pub struct Page {
    pub title: String,
    /// One sentence under the title: what was done, on what.
    pub lead: String,
    /// What the reader must know before believing the figures.
    pub warnings: Vec<String>,
    /// The figures of the summary: name, and value with its unit.
    pub figures: Vec<(String, String)>,
    pub plots: Vec<Plot>,
    pub table: Table,
    /// The cases that gave no result, and why.
    pub failures: Vec<(String, String)>,
    /// What the figures depend on: model, precision, device, version.
    pub facts: Vec<(String, String)>,
}

/// Such as one row per case.
#[derive(Debug, Clone, Default)]
pub struct Table {
    pub title: String,
    pub columns: Vec<Column>,
    /// One cell per column in each.
    pub rows: Vec<Vec<Cell>>,
    /// By what the rows are sorted, worst first; without it they stay in order.
    pub worst: Option<Worst>,
}

#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    /// Digits after the point of its numbers.
    pub decimals: usize,
}

#[derive(Debug, Clone)]
pub enum Cell {
    Text(String),
    /// Shown as ∞ where it is infinite, as a dash where it is no number.
    Number(f64),
}

/// The worst case has the lowest or the highest number in this column (counted from 0).
#[derive(Debug, Clone, Copy)]
pub enum Worst {
    Lowest(usize),
    Highest(usize),
}

impl Worst {
    /// How bad a row is; `None` where it has no number in the column.
    fn badness(self, row: &[Cell]) -> Option<f64> {
        let (column, sign) = match self {
            Worst::Lowest(column) => (column, -1.0),
            Worst::Highest(column) => (column, 1.0),
        };
        match row.get(column) {
            Some(Cell::Number(value)) if !value.is_nan() => Some(sign * value),
            _ => None,
        }
    }
}

impl Page {
    /// The whole page as HTML 5.
    pub fn to_html(&self) -> String {
        let mut body = String::new();
        // Writing to a string cannot fail.
        let _ = self.write_body(&mut body);
        let title = escape(&self.title);
        let style = include_str!("style.css");
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n\
             {body}</main>\n</body>\n</html>\n"
        )
    }

    fn write_body(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "<header>\n<h1>{}</h1>", escape(&self.title))?;
        writeln!(out, "<p>{}</p>\n</header>", escape(&self.lead))?;
        for warning in &self.warnings {
            writeln!(out, "<p class=\"warning\"><b>Warning</b> {}</p>", escape(warning))?;
        }
        if !self.figures.is_empty() {
            writeln!(out, "<section>\n<h2>Summary</h2>\n<dl class=\"figures\">")?;
            write_pairs(out, &self.figures)?;
            writeln!(out, "</dl>\n</section>")?;
        }
        #[cfg(feature = "plots")]
        if !self.plots.is_empty() {
            writeln!(out, "<section class=\"plots\">")?;
            for plot in &self.plots {
                write_plot(out, plot)?;
            }
            writeln!(out, "</section>")?;
        }
        if !self.failures.is_empty() {
            writeln!(out, "<section>\n<h2>Failed cases</h2>\n<dl class=\"failures\">")?;
            write_pairs(out, &self.failures)?;
            writeln!(out, "</dl>\n</section>")?;
        }
        if !self.table.rows.is_empty() {
            self.table.write(out)?;
        }
        if !self.facts.is_empty() {
            writeln!(out, "<section>\n<h2>Measured with</h2>\n<dl class=\"facts\">")?;
            write_pairs(out, &self.facts)?;
            writeln!(out, "</dl>\n</section>")?;
        }
        Ok(())
    }
}

impl Table {
    /// Row numbers, worst first; rows without a number last, otherwise in the order given.
    fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        if let Some(worst) = self.worst {
            let badness =
                |row: &usize| worst.badness(&self.rows[*row]).unwrap_or(f64::NEG_INFINITY);
            order.sort_by(|a, b| badness(b).total_cmp(&badness(a)));
        }
        order
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        // One in twenty, and at least one: a list of bad cases that is short enough to look at.
        let flagged = match self.worst {
            Some(_) if self.rows.len() > 1 => self.rows.len().div_ceil(20),
            _ => 0,
        };
        writeln!(out, "<section>\n<h2>{}</h2>", escape(&self.title))?;
        if flagged > 0 {
            writeln!(out, "<p class=\"note\">Worst first; ▲ marks the worst {flagged}.</p>")?;
        }
        writeln!(out, "<div class=\"wide\">\n<table>\n<thead><tr>")?;
        for (i, column) in self.columns.iter().enumerate() {
            let class = if self.is_numeric(i) { " class=\"number\"" } else { "" };
            writeln!(out, "<th scope=\"col\"{class}>{}</th>", escape(&column.name))?;
        }
        writeln!(out, "</tr></thead>\n<tbody>")?;
        for (rank, row) in self.order().into_iter().enumerate() {
            let row = &self.rows[row];
            let bad =
                rank < flagged && self.worst.is_some_and(|worst| worst.badness(row).is_some());
            write!(out, "<tr{}>", if bad { " class=\"worst\"" } else { "" })?;
            for (cell, column) in row.iter().zip(&self.columns) {
                match cell {
                    Cell::Text(text) => write!(out, "<td>{}</td>", escape(text))?,
                    Cell::Number(v) if v.is_finite() => {
                        write!(out, "<td class=\"number\">{v:.*}</td>", column.decimals)?;
                    }
                    Cell::Number(v) => {
                        let text = if v.is_nan() { "–" } else { "∞" };
                        write!(out, "<td class=\"number\">{text}</td>")?;
                    }
                }
            }
            writeln!(out, "</tr>")?;
        }
        writeln!(out, "</tbody>\n</table>\n</div>\n</section>")
    }

    fn is_numeric(&self, column: usize) -> bool {
        self.rows.iter().any(|row| matches!(row.get(column), Some(Cell::Number(_))))
    }
}

fn write_pairs(out: &mut String, pairs: &[(String, String)]) -> std::fmt::Result {
    for (name, value) in pairs {
        writeln!(out, "<div><dt>{}</dt><dd>{}</dd></div>", escape(name), escape(value))?;
    }
    Ok(())
}

#[cfg(feature = "plots")]
fn write_plot(out: &mut String, plot: &Plot) -> std::fmt::Result {
    writeln!(out, "<figure>\n<h2>{}</h2>", escape(&plot.title))?;
    let legend = plot.legend();
    if !legend.is_empty() {
        write!(out, "<p class=\"legend\">")?;
        for (name, color) in legend {
            write!(out, "<span><i style=\"background:{color}\"></i>{}</span>", escape(&name))?;
        }
        writeln!(out, "</p>")?;
    }
    out.push_str(&plot.to_svg());
    writeln!(out, "<figcaption>{}</figcaption>\n</figure>", escape(&plot.how_to_read))
}

/// Text made safe inside an element or a quoted attribute.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(all(test, feature = "plots"))]
mod tests;
