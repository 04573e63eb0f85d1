use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Area, Drawn, FONT, LINE, MAIN, Plot, WIDTH, shortened};

const ROW: u32 = 40;
/// Of the columns' names and of the words above them.
const HEAD: u32 = 64;
const FOOT: u32 = 12;
/// A name is cut after so many characters.
const NAME: usize = 18;
/// Of a character, about.
const CHARACTER: u32 = 8;

pub(super) fn height(rows: usize) -> u32 {
    HEAD + ROW * rows.max(1) as u32 + FOOT
}

impl Plot {
    pub(super) fn matrix(
        &self,
        area: &Area,
        rows: &[String],
        columns: &[String],
        counts: &[Vec<usize>],
    ) -> Drawn {
        let names: Vec<String> = rows.iter().map(|name| shortened(name, NAME)).collect();
        let longest = names.iter().map(|n| n.chars().count()).max().unwrap_or(0);
        let left = 24 + CHARACTER * longest as u32;
        // Two columns as wide as the page would look like bars.
        let cell = ((WIDTH - left - 8) / columns.len().max(1) as u32).min(120) as i32;
        let (left, head, row) = (left as i32, HEAD as i32, ROW as i32);
        let text = |text: &str, at: (i32, i32), side: HPos| {
            let style = TextStyle::from(FONT.into_font()).pos(Pos::new(side, VPos::Center));
            area.draw(&Text::new(text.to_owned(), at, style))
        };
        text(&format!("{} ↓   {} →", self.y, self.x), (left, 14), HPos::Left)?;
        for (j, name) in columns.iter().enumerate() {
            let name = shortened(name, (cell as usize / CHARACTER as usize).max(2));
            text(&name, (left + cell * j as i32 + cell / 2, head - 16), HPos::Center)?;
        }
        for (i, (name, counts)) in names.iter().zip(counts).enumerate() {
            let top = head + row * i as i32;
            text(name, (left - 10, top + row / 2), HPos::Right)?;
            let whole = counts.iter().sum::<usize>().max(1) as f64;
            for (j, count) in counts.iter().enumerate() {
                let corner = (left + cell * j as i32, top);
                let corners = [corner, (corner.0 + cell - 2, corner.1 + row - 2)];
                let share = *count as f64 / whole;
                let fill = if *count == 0 { LINE.mix(0.08) } else { MAIN.mix(0.15 + 0.5 * share) };
                area.draw(&Rectangle::new(corners, fill.filled()))?;
                let middle = (corner.0 + cell / 2, corner.1 + row / 2);
                text(&count.to_string(), middle, HPos::Center)?;
            }
        }
        Ok(())
    }
}
