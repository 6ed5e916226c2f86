//! The report as a page that needs nothing beside it.

use crate::plot;
use crate::report::Judged;
use crate::run::Outcome;
use crate::table;
use crate::targets::Verdict;

const STYLE: &str = "
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 62em; padding: 0 1em; color: #1b1f24; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2.2em; border-top: 1px solid #d0d7de; padding-top: .8em; }
table { border-collapse: collapse; font-size: 13px; margin: .8em 0; display: block; overflow-x: auto; }
td, th { padding: .2em .6em; text-align: right; border-bottom: 1px solid #eaeef2; white-space: nowrap; }
td:first-child, th:first-child { text-align: left; }
table.wide td { white-space: normal; text-align: left; }
pre { font-size: 12px; background: #f6f8fa; padding: .8em; overflow-x: auto; }
svg { width: 100%; max-width: 780px; display: block; } svg text { font-size: 12px; } svg text.name { text-anchor: end; }
rect.own { fill: #2f6fdb; } rect.kernel { fill: #b8860b; } rect.raw { fill: #8c959f; }
svg line { stroke: #1b1f24; } svg circle { fill: #1b1f24; }
.met { color: #1a7f37; } .missed { color: #cf222e; } .none { color: #6e7781; } li { margin: .2em 0; }
details { font-size: 13px; margin: .5em 0; }
";

const ABOUT: &str = "<p>Each cell is one workload. Its contestants ran in turn, round after round, in one run; a figure is the
median of the rounds, and a ratio the median of the rounds' ratios. A bar is the median, a line reaches from the least to
the most, a dot is a round.</p>
<p><b>Who pays for what.</b> On a veth pair a packet's receive softirq runs on its <i>sender's</i> core. So what the kernel
does to take in a request is in the time of the load, which sends it, and what it does to take in the answer is in the
contestant's. <i>Its CPU</i> is the contestant's process for an operation, <i>other end's</i> the load's or the sink's,
<i>both</i> their sum with ksoftirqd: the fair figure at a fixed offered load. <i>Cores busy</i> is /proc/stat for both
cores: coarse, and with all that the machine did beside. A load without a rate spins, so its time is all of its core's.
<i>equal</i> means that the kernel's packets are ringwire's: no offload at either end.</p>
";

/// The page.
pub fn html(machine: &[(&'static str, String)], cells: &[Judged<'_>]) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>ringwire beside the kernel</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>ringwire beside the kernel's io_uring, epoll, and raw AF_XDP</h1>\n"
    );
    page += "<table class=\"wide\">\n";
    for (name, value) in machine {
        page += &format!("<tr><th>{name}</th><td>{}</td></tr>\n", escape(value));
    }
    page += "</table>\n";
    page += ABOUT;
    page += &targets(cells);
    for &(outcome, verdicts) in cells {
        page += &cell(outcome, verdicts);
    }
    page + "</body>\n</html>\n"
}

/// All targets, in front of the cells that they belong to.
fn targets(cells: &[Judged<'_>]) -> String {
    let rows: String = cells
        .iter()
        .flat_map(|&(outcome, verdicts)| verdicts.iter().map(move |it| (outcome, it)))
        .map(|(outcome, it)| {
            let name = &outcome.cell.name;
            format!(
                "<tr><td><a href=\"#{name}\">{name}</a></td><td>{}</td><td>{}</td></tr>\n",
                word(it),
                escape(&it.text)
            )
        })
        .collect();
    match rows.is_empty() {
        true => String::new(),
        false => format!("<h2>Targets</h2>\n<table class=\"wide\">\n{rows}</table>\n"),
    }
}

fn word(verdict: &Verdict) -> String {
    let class = match verdict.met {
        Some(true) => "met",
        Some(false) => "missed",
        None => "none",
    };
    format!("<span class=\"{class}\">{}</span>", verdict.word())
}

fn cell(outcome: &Outcome, verdicts: &[Verdict]) -> String {
    let cell = &outcome.cell;
    let mut html = format!(
        "<h2 id=\"{0}\">{0}</h2>\n<p>{1}</p>\n",
        cell.name,
        escape(&cell.title)
    );
    match &outcome.text {
        Some(Ok(output)) => return html + &format!("<pre>{}</pre>\n", escape(output)),
        Some(Err(error)) => {
            return html + &format!("<p class=\"missed\">failed: {}</p>\n", escape(error));
        }
        None => {}
    }
    html += &plot::svg(outcome).unwrap_or_default();
    html += "<table>\n";
    for (index, row) in table::cells_of(outcome).iter().enumerate() {
        let tag = if index == 0 { "th" } else { "td" };
        let cells: String = row
            .iter()
            .map(|it| format!("<{tag}>{}</{tag}>", escape(it)))
            .collect();
        html += &format!("<tr>{cells}</tr>\n");
    }
    html += "</table>\n";
    let lines = verdicts
        .iter()
        .map(|it| format!("<li>{}: {}</li>\n", word(it), escape(&it.text)));
    let disturbed = table::disturbed(outcome);
    html += &disturbed.map_or(String::new(), |line| {
        format!("<p class=\"missed\">{line}</p>\n")
    });
    let missing = table::missing(outcome);
    let missing = missing
        .iter()
        .map(|it| format!("<li class=\"none\">{}</li>\n", escape(it)));
    let lines: String = lines.chain(missing).collect();
    if !lines.is_empty() {
        html += &format!("<ul>\n{lines}</ul>\n");
    }
    html + &commands(outcome)
}

/// Beds and command lines.
fn commands(outcome: &Outcome) -> String {
    let mut text = String::new();
    for result in &outcome.results {
        text += &format!(
            "{}: {}\n",
            result.contestant.name,
            result.contestant.bed.describe()
        );
        result
            .lines
            .iter()
            .for_each(|line| text += &format!("  $ {line}\n"));
        result
            .said
            .iter()
            .for_each(|line| text += &format!("  {line}\n"));
    }
    format!(
        "<details><summary>beds, command lines, and what the servers said of themselves</summary><pre>{}</pre></details>\n",
        escape(&text)
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
