//! A plan as text for a terminal: aligned columns, no colours, nothing wider than it has to be.

use super::eal_args::ranges;
use super::file::{Driver, Idle, WhenFull};
use super::plan::{IgmpPlan, Link, Mode, Plan, PoolPurpose, PortPlan, Stage, VenuePlan};
use std::fmt::Write;

/// The plan as tables: stages and links, lcores, ports, pools, memory by node; then EAL's arguments and what to beware of.
pub fn render(plan: &Plan) -> String {
    let mode = match plan.mode {
        Mode::Replay => "replay",
        Mode::Run => "run",
    };
    let mut out = format!("plan {:016x}, {mode}\n", plan.hash);
    if let Some(about) = &plan.about {
        out += about;
        out.push('\n');
    }
    let tables = [stages(plan), lcores(plan), ports(plan), pools(plan), memory(plan)];
    for table in tables {
        out.push('\n');
        out += &table.render();
    }
    // Writing to a string cannot fail.
    let _ = write!(out, "\nEAL memory {}", size(plan.eal_bytes()));
    if plan.no_huge {
        let _ = write!(out, " (of {} MiB given to it, without hugepages)", plan.eal_megabytes());
    }
    if plan.capture_window_bytes > 0 {
        let _ = write!(out, ", capture windows {} beside it", size(plan.capture_window_bytes));
    }
    let _ = writeln!(out, "\nEAL arguments: {}", plan.eal_args.join(" "));
    for line in port_lines(plan) {
        let _ = writeln!(out, "{line}");
    }
    for warning in &plan.warnings {
        let _ = writeln!(out, "warning: {warning}");
    }
    out
}

/// What is out of the ordinary with ports, a line each: one lcore that receives for several venues, groups joined here.
pub fn port_lines(plan: &Plan) -> Vec<String> {
    let igmp = |port: &PortPlan| {
        let IgmpPlan { version, address, vlan, groups, .. } = port.igmp.as_ref()?;
        let vlan = vlan.map_or_else(String::new, |id| format!(" in VLAN {id}"));
        let n = groups.len();
        Some(format!("port {}: {n} groups are joined by IGMP version {version} as {address}{vlan}", port.name))
    };
    let receiver = |port: &PortPlan| {
        let receiver = port.receiver.as_ref()?;
        let venues: Vec<&str> = receiver.shares.iter().map(|share| plan.venues[share.venue].name.as_str()).collect();
        let unless = if port.steerable { "unless the device steers, " } else { "" };
        Some(format!(
            "port {}: {unless}lcore {} receives for {} and gives each its packets by their groups, {} waiting at most",
            port.name,
            receiver.lcore,
            venues.join(", "),
            receiver.shares[0].ring.depth,
        ))
    };
    plan.ports.iter().flat_map(|port| [receiver(port), igmp(port)]).flatten().collect()
}

/// Bytes as a person reads them: whole below 1 KiB, one decimal above.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

fn stages(plan: &Plan) -> Table {
    let mut table = Table::new("venue< stage< lcore> cpu> node> burst> link to the next stage<");
    for venue in &plan.venues {
        for stage in &venue.stages {
            let lcore = plan.lcore(stage.lcore);
            let first = if stage.stage == Stage::Rx { venue.name.as_str() } else { "" };
            table.row([
                first.to_owned(),
                stage.stage.to_string(),
                stage.lcore.to_string(),
                lcore.map_or(String::new(), |l| ranges(&l.cpus)),
                lcore.map_or(String::new(), |l| l.node.to_string()),
                if stage.burst > 0 { stage.burst.to_string() } else { "-".into() },
                link_after(venue, stage.stage),
            ]);
        }
    }
    table
}

fn link_after(venue: &VenuePlan, stage: Stage) -> String {
    let (link, elements, note) = match stage {
        Stage::Rx if venue.when_full == WhenFull::Drop => (&venue.links.rx_parse, "frames", ", drops when full"),
        Stage::Rx => (&venue.links.rx_parse, "frames", ", waits when full"),
        Stage::Parse => (&venue.links.parse_strategy, "elements", ""),
        Stage::Strategy => (&venue.links.strategy_encode, "orders", ""),
        Stage::Encode => (&venue.links.encode_tx, "frames", ""),
        Stage::Tx => (&venue.links.tx_strategy, "order events", ", back to strategy"),
    };
    match link {
        // The last stage has no next one: what it has for strategy is handed over by a call.
        Link::Fused if stage == Stage::Tx => "-".into(),
        Link::Fused => "fused".into(),
        Link::Ring(ring) => format!("ring of {} {elements} on node {}{note}", ring.depth, ring.node),
    }
}

fn lcores(plan: &Plan) -> Table {
    let mut table = Table::new("lcore> cpu> node> idle< memory> runs<");
    table.row([
        plan.main_lcore.to_string(),
        ranges(&plan.main_cpus),
        String::new(),
        "sleep".into(),
        String::new(),
        "main: control".into(),
    ]);
    for lcore in &plan.lcores {
        let idle = match lcore.idle {
            Idle::Spin => "spin",
            Idle::Pause => "pause",
            Idle::Yield => "yield",
        };
        let receives = lcore.receives.iter().map(|&port| format!("port {}", plan.ports[port].name));
        let runs = lcore.segments.iter().map(|s| {
            let venue = &plan.venues[s.venue].name;
            if s.first == s.last {
                format!("{venue} {}", s.first)
            } else {
                format!("{venue} {} to {}", s.first, s.last)
            }
        });
        table.row([
            lcore.id.to_string(),
            ranges(&lcore.cpus),
            lcore.node.to_string(),
            lcore.fifo.map_or(idle.to_owned(), |priority| format!("{idle}, FIFO {priority}")),
            size(lcore.arena_bytes),
            receives.chain(runs).collect::<Vec<_>>().join("; "),
        ]);
    }
    table
}

fn ports(plan: &Plan) -> Table {
    let mut table = Table::new("port< driver< device< node> rx queues> tx queues> descriptors>");
    for port in &plan.ports {
        let live = port.driver != Driver::Capture;
        table.row([
            port.name.clone(),
            port.driver.name().to_owned(),
            port.hardware().unwrap_or("-").to_owned(),
            port.node.map_or_else(|| "-".into(), |n| n.to_string()),
            port.rx_queues.to_string(),
            port.tx_queues.to_string(),
            if live { format!("{} + {}", port.rx_descriptors, port.tx_descriptors) } else { "-".into() },
        ]);
    }
    table
}

fn pools(plan: &Plan) -> Table {
    let mut table = Table::new("pool< of< node> mbufs> cache> bytes>");
    for pool in &plan.pools {
        let purpose = match pool.purpose {
            PoolPurpose::Feed => "feed",
            PoolPurpose::Orders => "orders",
        };
        table.row([
            pool.name.clone(),
            format!("{} {purpose}", plan.venues[pool.venue].name),
            pool.node.to_string(),
            pool.mbufs.to_string(),
            pool.cache.to_string(),
            size(pool.bytes),
        ]);
    }
    table
}

fn memory(plan: &Plan) -> Table {
    let mut table = Table::new("node> pools> rings> books and tables> together>");
    for node in &plan.memory {
        let all = [node.pools, node.rings, node.arenas, node.total()].map(size);
        let [pools, rings, arenas, total] = all;
        table.row([node.node.to_string(), pools, rings, arenas, total]);
    }
    table
}

/// Rows of cells under headings; a heading says whether its column leans left (`<`) or right (`>`).
pub(crate) struct Table {
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Empty, with these headings: each ends with the side to which its column is aligned, < or >.
    pub(crate) fn new(headings: &str) -> Table {
        let mut table = Table { right: Vec::new(), rows: vec![Vec::new()] };
        for heading in headings.split_inclusive(['<', '>']) {
            table.right.push(heading.ends_with('>'));
            table.rows[0].push(heading.trim_matches(['<', '>', ' ']).to_owned());
        }
        table
    }

    /// One more row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// As text, two spaces between columns.
    pub(crate) fn render(&self) -> String {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.right.len()).map(width).collect();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, &width), &right) in row.iter().zip(&widths).zip(&self.right) {
                let _ = if right { write!(line, "{cell:>width$}  ") } else { write!(line, "{cell:<width$}  ") };
            }
            out += line.trim_end();
            out.push('\n');
        }
        out
    }
}
