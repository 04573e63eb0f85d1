use super::*;

fn plot(marks: Marks) -> Plot {
    let text = |text: &str| text.to_owned();
    Plot {
        title: text("A & B <i>"),
        how_to_read: text("x < y & \"z\""),
        x: text("a < b (mm)"),
        y: text("cases & more"),
        marks,
    }
}

/// The names of all elements, after checking that each is closed and every attribute quoted.
fn elements(markup: &str) -> Vec<String> {
    let (mut open, mut names) = (Vec::new(), Vec::new());
    for piece in markup.split('<').skip(1) {
        let (tag, text) = piece.split_once('>').expect("a tag ends");
        assert!(!text.contains('>'), "{text}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
            continue;
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        let name = tag.split([' ', '/']).next().unwrap().to_owned();
        if !tag.ends_with('/') {
            open.push(name.clone());
        }
        names.push(name);
    }
    assert!(open.is_empty(), "not closed: {open:?}");
    names
}

fn count(svg: &str, name: &str) -> usize {
    elements(svg).iter().filter(|n| *n == name).count()
}

#[test]
fn a_scatter_has_a_dot_per_pair_and_counts_those_below() {
    let points = vec![[0.5, 0.8], [0.6, 0.5], [0.7, 0.7], [f64::NAN, 0.5], [0.5, f64::INFINITY]];
    let plot = plot(Marks::PairedScatter(points));
    assert_eq!(count(&plot.to_svg(), "circle"), 3);
    let legend: Vec<String> = plot.legend().into_iter().map(|(name, _)| name).collect();
    assert_eq!(legend, ["on or above the diagonal: 2", "below: 1"]);
}

#[test]
fn strips_have_a_dot_per_value_a_name_per_group_and_boxes_for_five_or_more() {
    let groups = vec![
        ("first & last".to_owned(), vec![vec![0.1, 0.2, 0.3, 0.4, 0.5], vec![0.6, 0.7]]),
        ("second".to_owned(), vec![vec![], vec![f64::NAN, 0.9]]),
    ];
    let series = vec!["before".to_owned(), "after".to_owned()];
    let svg = plot(Marks::Strips { series, groups }).to_svg();
    assert_eq!(count(&svg, "circle"), 5 + 2 + 1);
    assert!(svg.contains("first &amp; last") && svg.contains("second"));
    let medians = svg.matches("stroke-width=\"4\"").count();
    assert_eq!(medians, 1);
}

#[test]
fn a_histogram_has_a_bar_per_filled_interval() {
    let svg = plot(Marks::Histogram(vec![0.0, 0.1, 0.1, 5.0, f64::NAN])).to_svg();
    assert_eq!(count(&svg, "rect"), 2);
}

#[test]
fn curves_have_a_name_each_unless_they_are_many() {
    let lines = |count: usize| {
        let line = |i: usize| (format!("l<{i}>"), vec![[0.0, 0.0], [2.0, 0.5], [5.0, 1.0]]);
        plot(Marks::Curves((0..count).map(line).collect()))
    };
    for (n, named) in [(0, 0), (1, 1), (5, 5), (20, 1)] {
        assert_eq!(lines(n).legend().len(), named);
        let axes = count(&lines(0).to_svg(), "polyline");
        assert_eq!(count(&lines(n).to_svg(), "polyline") - axes, n);
    }
    assert_eq!(lines(20).legend()[0].0, "l<19>");
}

#[test]
fn agreement_shows_every_case_and_names_its_lines() {
    let points = vec![[100.0, 1.0], [120.0, -1.5], [f64::NAN, 2.0]];
    let svg = plot(Marks::Agreement { points, bias: -0.25, limits: Some([-3.0, 2.5]) }).to_svg();
    assert_eq!(count(&svg, "circle"), 2);
    for line in ["mean -0.25", "+1.96 sd 2.50", "−1.96 sd -3.00"] {
        assert!(svg.contains(line), "{line}: {svg}");
    }
    let one = Marks::Agreement { points: vec![[1.0, 0.0]], bias: 0.0, limits: None };
    assert!(!plot(one).to_svg().contains("1.96"));
}

#[test]
fn a_matrix_shows_every_count_and_name() {
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let marks = Marks::Matrix {
        rows: names(&["a & b", "c"]),
        columns: names(&["a & b", "c", "none"]),
        counts: vec![vec![17, 0, 1], vec![2, 35, 0]],
    };
    let svg = plot(marks).to_svg();
    assert_eq!(count(&svg, "rect"), 6);
    assert_eq!(svg.matches("a &amp; b").count(), 2);
    for text in ["17", "35", "none"] {
        assert!(svg.contains(text), "{text}");
    }
}

#[test]
fn plots_of_nothing_or_of_one_value_are_drawn() {
    for values in [vec![], vec![f64::NAN], vec![0.0], vec![-2.0; 3]] {
        elements(&plot(Marks::Histogram(values.clone())).to_svg());
        let pairs = values.iter().map(|v| [*v, *v]).collect();
        elements(&plot(Marks::PairedScatter(pairs)).to_svg());
        let points = values.iter().map(|v| [*v, *v]).collect();
        let marks = Marks::Agreement { points, bias: f64::NAN, limits: None };
        elements(&plot(marks).to_svg());
        let groups = vec![("g".to_owned(), vec![values])];
        elements(&plot(Marks::Strips { series: vec![], groups }).to_svg());
    }
    elements(&plot(Marks::Strips { series: vec![], groups: vec![] }).to_svg());
    elements(&plot(Marks::Curves(vec![])).to_svg());
    let none = Marks::Matrix { rows: vec![], columns: vec![], counts: vec![] };
    elements(&plot(none).to_svg());
}

fn nasty() -> Page {
    let bad = || "<script>alert('1') & \"2\"</script>".to_owned();
    Page {
        title: bad(),
        lead: bad(),
        warnings: vec![bad()],
        figures: vec![(bad(), bad())],
        plots: vec![Plot {
            title: bad(),
            how_to_read: bad(),
            x: bad(),
            y: bad(),
            marks: Marks::Strips {
                series: vec![bad(), bad()],
                groups: vec![(bad(), vec![vec![1.0], vec![2.0]])],
            },
        }],
        table: Table {
            title: "Cases".into(),
            columns: vec![Column { name: bad(), decimals: 1 }],
            rows: vec![vec![Cell::Text(bad())]],
            worst: None,
        },
        failures: vec![(bad(), bad())],
        facts: vec![(bad(), bad())],
    }
}

#[test]
fn every_text_is_escaped_and_nothing_is_loaded() {
    let html = nasty().to_html();
    assert!(!html.contains("<script"));
    assert_eq!(html, nasty().to_html());
    let escaped = escape("<script>alert('1') & \"2\"</script>");
    assert_eq!(escaped, "&lt;script&gt;alert(&#39;1&#39;) &amp; &quot;2&quot;&lt;/script&gt;");
    // Once per text above and per legend entry; the plot's own texts are the backend's affair, its
    // accessible name and heading are ours; the title stands in the head and on top.
    assert_eq!(html.matches(&escaped).count(), 2 + 1 + 1 + 2 + 3 + 2 + 2 + 2 + 2);
    for loads in ["src=", "href=", "url(", "@import"] {
        assert!(!html.contains(loads), "{loads}");
    }
    let body = &html[html.find("<body>").unwrap()..html.find("</html>").unwrap()];
    elements(body);
}

#[test]
fn rows_stand_worst_first_and_the_worst_is_marked() {
    let row = |name: &str, dice: f64| vec![Cell::Text(name.to_owned()), Cell::Number(dice)];
    let mut table = Table {
        title: "Cases".into(),
        columns: ["case", "Dice"].map(|n| Column { name: n.to_owned(), decimals: 2 }).into(),
        rows: vec![row("mid", 0.7), row("none", f64::NAN), row("best", 0.912), row("low", 0.4)],
        worst: Some(Worst::Lowest(1)),
    };
    assert_eq!(table.order(), [3, 0, 2, 1]);
    let html = Page { table: table.clone(), ..Page::default() }.to_html();
    assert_eq!(html.matches("class=\"worst\"").count(), 1);
    assert!(html.contains("<tr class=\"worst\"><td>low</td><td class=\"number\">0.40</td></tr>"));
    assert!(html.contains("<td>none</td><td class=\"number\">–</td>"));
    table.worst = Some(Worst::Highest(1));
    assert_eq!(table.order(), [2, 0, 3, 1]);
    table.rows.push(row("lost", f64::INFINITY));
    assert_eq!(table.order(), [4, 2, 0, 3, 1]);
    table.rows.pop();
    table.worst = Some(Worst::Highest(7));
    assert_eq!(table.order(), [0, 1, 2, 3]);
}
