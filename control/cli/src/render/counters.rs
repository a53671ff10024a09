//! Where every packet went, and why some were dropped.

use std::fmt::Write;

use sluice_control_api::{Account, DropCount, Stats, WorkerStats};

use super::tables::place;
use super::{table, wrap};

/// More workers than this, and only the sum is shown; `--json` has them all.
const WORKERS_SHOWN: usize = 6;

/// A side of the accounting equation: each term and where it stands.
type Terms<const N: usize> = [(&'static str, fn(&Account) -> u64); N];

const CAME: Terms<3> = [
    ("received", |account| account.rx),
    ("generated", |account| account.generated),
    ("handed in", |account| account.handed_in),
];

const WENT: Terms<6> = [
    ("sent", |account| account.tx),
    ("punted", |account| account.punted),
    ("consumed", |account| account.consumed),
    ("dropped", |account| account.dropped),
    ("handed out", |account| account.handed_out),
    ("held", |account| account.held),
];

pub(crate) fn stats(stats: &Stats) -> String {
    let mut accounts = vec![("ALL".to_owned(), stats.total)];
    if (2..=WORKERS_SHOWN).contains(&stats.workers.len()) {
        accounts.extend(stats.workers.iter().map(|w| (format!("WORKER {}", w.worker), w.account)));
    }
    let mut text = format!("{:<14}", "PACKETS");
    for (name, _) in &accounts {
        let _ = write!(text, "{name:>16}");
    }
    text.push('\n');
    for (side, terms) in [("came", &CAME[..]), ("went", &WENT[..])] {
        for (name, term) in terms {
            row(&mut text, name, &accounts, term);
        }
        let sum = |account: &Account| {
            terms.iter().fold(0, |sum: u64, (_, term)| sum.wrapping_add(term(account)))
        };
        row(&mut text, &format!("= {side}"), &accounts, &sum);
    }
    text.push_str(&match stats.total.difference {
        0 => "every packet is accounted for\n\n".to_owned(),
        n if n > 0 => format!("{n} packets came and are not accounted for\n\n"),
        n => format!("{} packets went that never came\n\n", n.unsigned_abs()),
    });
    text.push_str(&table(
        [
            "PORT",
            "LINK",
            "#RX PKTS",
            "#RX BYTES",
            "#TX PKTS",
            "#TX BYTES",
            "#REFUSED",
            "#KERNEL DROPS",
            "#MISSED",
            "#ERRORS",
        ],
        stats.ports.iter().map(|port| {
            [
                port.port.to_string(),
                if port.link { "up" } else { "down" }.into(),
                port.rx_packets.to_string(),
                port.rx_bytes.to_string(),
                port.tx_packets.to_string(),
                port.tx_bytes.to_string(),
                port.tx_refused.to_string(),
                port.kernel_drops.to_string(),
                port.missed.to_string(),
                port.device_errors.to_string(),
            ]
        }),
    ));
    text.push('\n');
    text.push_str(&table(
        [
            "#WORKER",
            "#FLOWS",
            "#ROOM",
            "#HALF-OPEN",
            "#BEGUN",
            "#AGED",
            "#KILLED",
            "#EVICTED",
            "#NO ROOM",
        ],
        stats.workers.iter().map(|WorkerStats { worker, flows, .. }| {
            let evicted = [flows.evicted_half_open, flows.evicted_closing, flows.evicted_idle];
            [
                worker.to_string(),
                flows.in_use.to_string(),
                flows.capacity.to_string(),
                flows.half_open.to_string(),
                flows.inserted.to_string(),
                flows.aged.to_string(),
                flows.killed.to_string(),
                evicted.into_iter().fold(0, u64::wrapping_add).to_string(),
                flows.full.to_string(),
            ]
        }),
    ));
    text
}

fn row(
    text: &mut String,
    name: &str,
    accounts: &[(String, Account)],
    value: &dyn Fn(&Account) -> u64,
) {
    let _ = write!(text, "{name:<14}");
    for (_, account) in accounts {
        let _ = write!(text, "{:>16}", value(account));
    }
    text.push('\n');
}

pub(crate) fn drops(drops: &[DropCount]) -> String {
    if drops.is_empty() {
        return "no packet was dropped\n".into();
    }
    let mut text = format!("{:>12}  {:<26}  {}\n", "PACKETS", "REASON", "STAGE");
    for drop in drops {
        let _ = writeln!(text, "{:>12}  {:<26}  {}", drop.packets, drop.reason, drop.stage.name());
        for rule in &drop.rules {
            let at = rule
                .position
                .as_ref()
                .map_or_else(String::new, |position| format!(" at {}", place(position)));
            let what = match &*rule.name {
                "default" => "the default action".to_owned(),
                name => format!("rule {name}"),
            };
            let _ = writeln!(
                text,
                "{:>12}    {what}{at}: {} by the {} filter of {}",
                rule.packets,
                rule.action.name(),
                rule.point.name(),
                rule.instance,
            );
        }
        text.push_str(&wrap("              ", &drop.help));
    }
    text
}

#[cfg(test)]
mod tests {
    use sluice_control_api::{FlowTable, PortStats, RuleDrops};
    use sluice_policy::Stage;
    use sluice_policy::model::{Action, FilterPoint, Position};

    use super::*;

    fn worker(worker: u16, account: Account) -> WorkerStats {
        let flows =
            FlowTable { capacity: 1024, in_use: 7, evicted_idle: 5, ..FlowTable::default() };
        WorkerStats { worker, account, loops: 9, busy_loops: 5, sleeps: 1, generation: 2, flows }
    }

    #[test]
    fn the_account_is_shown_with_its_sums() {
        let account = Account { rx: 10, tx: 8, dropped: 2, ..Account::default() }.settled();
        let total = account.plus(&account);
        let port = PortStats {
            port: "lan".into(),
            link: true,
            rx_packets: 20,
            rx_bytes: 2000,
            tx_packets: 16,
            tx_bytes: 1600,
            tx_refused: 0,
            kernel_drops: 3,
            missed: 0,
            device_errors: 0,
        };
        let workers = vec![worker(0, account), worker(1, account)];
        let mut value = Stats { total, workers, ports: vec![port] };
        let text = stats(&value);
        let line = |begin: &str| {
            let line = text.lines().find(|line| line.starts_with(begin)).unwrap();
            line[14..].split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line("PACKETS"), "ALL WORKER 0 WORKER 1");
        assert_eq!(line("= came"), "20 10 10");
        assert_eq!(line("= went"), "20 10 10");
        assert!(text.contains("every packet is accounted for"), "{text}");
        let table: Vec<_> = text.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(table, ["1", "7", "1024", "0", "0", "0", "0", "5", "0"]);
        assert!(text.lines().all(|line| line.len() <= 100), "{text}");
        value.total = Account { rx: 23, tx: 20, ..Account::default() }.settled();
        assert!(stats(&value).contains("3 packets came and are not accounted for"));
    }

    #[test]
    fn a_drop_names_its_rule_and_its_cure() {
        let rule = RuleDrops {
            instance: "default".into(),
            point: FilterPoint::Forward,
            name: "no-http".into(),
            action: Action::Drop,
            packets: 12,
            position: Some(Position { file: "lab.yaml".into(), line: 31, column: 9 }),
        };
        let drop = DropCount {
            reason: "forward-filter".into(),
            stage: Stage::ForwardFilter,
            packets: 12,
            help: "Denied by a rule. ".repeat(10),
            rules: vec![rule],
        };
        let text = drops(&[drop]);
        assert!(
            text.contains("rule no-http at lab.yaml:31: drop by the forward filter of default"),
            "{text}"
        );
        assert!(text.lines().all(|line| line.len() <= 100), "{text}");
        assert_eq!(drops(&[]), "no packet was dropped\n");
    }
}
