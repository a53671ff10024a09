//! What `--help` and the manual pages say beyond the definition of the command line: examples of
//! every command, exit codes, files.

use clap::{Command, CommandFactory};

use crate::args::Cli;

/// Examples by command: what to type, and what for.
const EXAMPLES: &[(&str, &[(&str, &str)])] = &[
    (
        "sluice",
        &[
            ("sluice up -c router.yaml", "start the appliance"),
            ("sluice apply router.yaml", "make it as the edited file says"),
            ("sluice show drops", "why packets were dropped"),
            (
                "sluice explain --in lan --src 10.0.1.2 --dst 10.0.2.2 --dport 80",
                "what would happen to a packet",
            ),
            ("sluice commits", "what took effect, and by whom"),
        ],
    ),
    (
        "sluice up",
        &[
            ("sluice up -c router.yaml", "until Ctrl-C; commits stay in /var/lib/sluice/sluice"),
            ("sluice up -c router.yaml --state /data/sluice", "commits stay there"),
            ("sluice --name lab up -c lab.yaml", "a second appliance"),
            ("sluice --dir /tmp/lab up -c lab.yaml", "one that keeps everything in /tmp/lab"),
        ],
    ),
    ("sluice check", &[("sluice check router.yaml", "every mistake, with line and column")]),
    (
        "sluice apply",
        &[
            ("sluice apply --dry-run router.yaml", "what would change"),
            ("sluice apply router.yaml -m 'close telnet'", "with a word for `sluice commits`"),
            (
                "sluice apply router.yaml --confirm 60s",
                "undone after a minute unless `sluice confirm` comes",
            ),
            ("sluice apply router.yaml --generation 12", "only if 12 is what is live"),
        ],
    ),
    (
        "sluice commits",
        &[
            ("sluice commits", "the last 20"),
            ("sluice --json commits -n 1", "the live one, for programs"),
        ],
    ),
    (
        "sluice diff",
        &[
            ("sluice diff 11 12", "what commit 12 changed"),
            ("sluice diff 11", "what changed since commit 11"),
            ("sluice diff router.yaml", "what applying the file would change"),
            ("sluice diff router.yaml --flows tests.yaml", "which flows would fare otherwise"),
            ("sluice diff router.yaml --flows", "which of those that there are now would"),
        ],
    ),
    (
        "sluice rollback",
        &[
            ("sluice rollback 11", "as it was in commit 11; that is a commit of its own"),
            ("sluice rollback 11 --dry-run", "what would change"),
        ],
    ),
    ("sluice confirm", &[("sluice confirm", "what was applied with --confirm stays")]),
    (
        "sluice watch",
        &[
            ("sluice watch", "until Ctrl-C"),
            ("sluice watch --drops 100", "and drop reasons with more than 100 packets a second"),
            ("sluice --json watch", "one JSON object a line, for programs"),
        ],
    ),
    (
        "sluice capture",
        &[
            (
                "sluice capture lan.pcapng -i lan --seconds 10s",
                "what passes this port in 10 seconds",
            ),
            (
                "sluice capture --drops --host 10.0.1.9",
                "drops, too; as it happens with `| tcpdump -n -r -`",
            ),
            (
                "sluice capture why.pcapng --direction dropped -c 100",
                "only drops, with their reasons",
            ),
        ],
    ),
    ("sluice show status", &[("sluice show status", "the first thing to look at")]),
    ("sluice show ports", &[("sluice show ports", "links, and what is wrong with a port")]),
    ("sluice show interfaces", &[("sluice show interfaces", "own addresses, VLANs, MTUs")]),
    (
        "sluice show routes",
        &[
            ("sluice show routes", "all; a star marks those that packets use"),
            ("sluice show routes --instance blue", "those of one instance"),
        ],
    ),
    ("sluice show neighbours", &[("sluice show neighbours", "ARP and neighbour discovery")]),
    (
        "sluice show flows",
        &[
            ("sluice show flows", "50 of them, and how many there are"),
            ("sluice show flows --sort rate --limit 10", "those that take the most bandwidth"),
            ("sluice show flows --src 10.0.1.0/24 --proto tcp --state established", "some"),
            ("sluice --json show flows --port 443", "for programs"),
        ],
    ),
    (
        "sluice flow kill",
        &[
            ("sluice flow kill --src 10.0.1.9", "all that this host began"),
            ("sluice flow kill --proto udp --port 53 --instance blue", "some of one instance"),
            ("sluice flow kill --all", "every one"),
        ],
    ),
    (
        "sluice show policy-routes",
        &[
            ("sluice show policy-routes", "where they lead, and packets by policy route"),
            ("sluice show policy-routes --json", "for programs"),
        ],
    ),
    (
        "sluice show rules",
        &[
            ("sluice show rules", "packets by rule"),
            ("sluice show rules --instance blue", "of one instance"),
        ],
    ),
    (
        "sluice show drops",
        &[
            ("sluice show drops", "reasons, and their cures"),
            ("sluice show drops --all", "also those that never happened"),
        ],
    ),
    (
        "sluice show hooks",
        &[
            ("sluice show hooks", "what packets meet, in order, with counters"),
            ("sluice show hooks --instance blue --event physical-in", "there alone"),
        ],
    ),
    ("sluice show stats", &[("sluice show stats", "the account: what came is what went")]),
    ("sluice show pipeline", &[("sluice show pipeline", "stages in order, with cycles a packet")]),
    (
        "sluice show runtime",
        &[
            ("sluice show runtime", "since the dataplane started"),
            ("sluice show runtime --interval 1s", "in the next second"),
        ],
    ),
    ("sluice show workers", &[("sluice show workers", "cores, load, and whether one is stalled")]),
    ("sluice show config", &[("sluice show config", "the desired state that is live, as JSON")]),
    (
        "sluice route add",
        &[
            ("sluice route add 192.0.2.0/24 via 10.0.1.9", ""),
            ("sluice route add 10.9.0.0/16 via 10.0.2.2 via 10.0.2.3 weight 2", "by flow, 1 to 2"),
            ("sluice route add fd00:9::/32 dev wan", "hosts on the link"),
            ("sluice route add 10.4.0.0/24 lookup blue main", "as instance blue routes"),
            ("sluice route add 192.0.2.0/24 blackhole --confirm 10m", "for ten minutes"),
            (
                "sluice route add 0.0.0.0/0 via 10.0.2.2 --owner dhcp --metric 100",
                "as a DHCP client would",
            ),
            (
                "sluice route add 192.0.2.0/24 via 10.0.1.9 --if-generation 12",
                "only in the place of what generation 12 set",
            ),
        ],
    ),
    (
        "sluice route del",
        &[
            ("sluice route del 192.0.2.0/24", "the live route; one of the file comes to light"),
            ("sluice route del 0.0.0.0/0 --owner dhcp --if-generation 12", "only if unchanged"),
        ],
    ),
    (
        "sluice route load",
        &[
            ("sluice route load table.ndjson --owner bgp", "in one commit, also a million"),
            ("sluice route load table.ndjson --owner bgp --replace", "and no others of bgp"),
            ("sluice route load - --owner bgp", "from a pipe"),
        ],
    ),
    (
        "sluice route withdraw",
        &[
            ("sluice route withdraw --owner dhcp", "everywhere"),
            ("sluice route withdraw --owner bgp --instance blue", "in one instance"),
        ],
    ),
    (
        "sluice route stale",
        &[("sluice route stale --owner bgp", "what is not set again is swept later")],
    ),
    ("sluice route sweep", &[("sluice route sweep --owner bgp", "after bgp has set its routes")]),
    (
        "sluice hook load",
        &[
            ("sluice hook load hundredth --event physical-in", "the program of that name"),
            (
                "sluice hook load hundredth --event physical-in --before ingress-filter --set every=50",
                "ahead of the filter, with a setting",
            ),
            (
                "sluice hook load v6-limit --program syn-limit --event forwarding --protocol inet6",
                "a program under another name",
            ),
            ("sluice hook load ./hundredth.so --event physical-in", "a shared object"),
            ("sluice hook load /usr/lib/sluice/mine.so", "a module, which registers its own hooks"),
            (
                "sluice hook load pass-packet --event forwarding --confirm 60s",
                "unloaded after a minute unless `sluice confirm` comes",
            ),
        ],
    ),
    (
        "sluice hook unload",
        &[("sluice hook unload hundredth", "it runs no more when the command returns")],
    ),
    ("sluice hook programs", &[("sluice hook programs", "and what they can be told")]),
    (
        "sluice neighbour flush",
        &[
            ("sluice neighbour flush", "all that were learnt"),
            ("sluice neighbour flush --interface lan --address 10.0.1.9", "one"),
        ],
    ),
    (
        "sluice explain",
        &[
            ("sluice explain --in lan --src 10.0.1.2 --dst 10.0.2.2 --dport 80", "a TCP SYN"),
            ("sluice explain --src fd00:1::2 --dst fd00:2::2 --proto icmpv6", "an echo request"),
            (
                "sluice explain --src 10.0.2.2 --dst 10.0.1.2 --sport 80 --tcp-flags syn,ack --state established",
                "an answer, where the filters are stateful",
            ),
            ("sluice explain --src 10.0.1.2 --dst 10.0.2.2 --at 11", "as it was in commit 11"),
            (
                "sluice explain --src 10.0.1.2 --dst 10.0.2.2 --candidate router.yaml",
                "if the file were applied",
            ),
        ],
    ),
    (
        "sluice route query",
        &[
            ("sluice route query --dst 192.0.2.25 --dport 25", "of a packet of the router's own"),
            (
                "sluice route query --in lan --src 10.0.1.2 --dst 192.0.2.25 --dport 25",
                "of one that comes in",
            ),
        ],
    ),
    (
        "sluice source",
        &[("sluice source --dst 192.0.2.25 --dport 25", "the address alone, for scripts")],
    ),
    (
        "sluice test",
        &[
            ("sluice test tests.yaml", "of the running appliance"),
            ("sluice test tests.yaml --config router.yaml", "of a file; nothing needs to run"),
        ],
    ),
    (
        "sluice schema",
        &[
            ("sluice schema", "for editors: put it beside the file"),
            ("sluice schema --tests", "of files of tests and flows"),
        ],
    ),
    (
        "sluice completions",
        &[
            ("sluice completions bash", "into /etc/bash_completion.d/sluice"),
            ("sluice completions zsh", "into a directory of $fpath, as _sluice"),
            ("sluice completions fish", "into ~/.config/fish/completions/sluice.fish"),
        ],
    ),
    ("sluice man", &[("sluice man /usr/local/share/man/man8", "then: man 8 sluice")]),
];

/// Exit codes and what they mean.
pub(crate) const EXIT_CODES: &[(u8, &str)] = &[
    (0, "It is done."),
    (
        1,
        "It failed or was refused: the configuration is wrong, the dataplane said no, a file cannot \
         be read, a test does not hold. Nothing changed, unless the message says otherwise.",
    ),
    (2, "The command line makes no sense."),
    (
        3,
        "What the command speaks of is not there (a commit, a route), or something else is there \
         than it expects (another generation, a pending confirmation).",
    ),
    (
        4,
        "No appliance answers: no control process, not permitted to ask it, or no dataplane behind \
         it.",
    ),
];

/// Files that matter to an operator.
pub(crate) const FILES: &[(&str, &str)] = &[
    ("/run/sluice/NAME", "Sockets of the appliance; elsewhere with --dir."),
    (
        "/var/lib/sluice/NAME",
        "Commits of the appliance; elsewhere with `sluice up --state`, and in DIR/state with --dir.",
    ),
];

/// Environment variables that matter to an operator.
pub(crate) const ENVIRONMENT: &[(&str, &str)] = &[
    ("SLUICE_DIR", "Like --dir."),
    ("SLUICE_STATE", "Like `sluice up --state`."),
    ("SLUICE_LOG", "Like `sluice up --log`."),
    ("SLUICE_LOG_FORMAT", "Like `sluice up --log-format`."),
    ("SUDO_USER", "Whom commits name as their author when root asks."),
    ("NO_COLOR", "When it is set, nothing is coloured. Nor is it when the output is no terminal."),
];

/// The definition of the command line, with examples.
pub(crate) fn command() -> Command {
    let command = with_examples(Cli::command(), "");
    let codes = section("Exit codes", EXIT_CODES.iter().map(|(code, text)| (code, *text)));
    let environment = section("Environment", ENVIRONMENT.iter().map(|(name, text)| (name, *text)));
    let examples = example_lines("sluice");
    command.after_long_help(format!("{examples}\n\n{codes}\n\n{environment}"))
}

/// The examples of a command, named as it is typed.
pub(crate) fn examples(path: &str) -> &'static [(&'static str, &'static str)] {
    EXAMPLES.iter().find(|(known, _)| *known == path).map_or(&[], |(_, examples)| examples)
}

fn with_examples(command: Command, parents: &str) -> Command {
    let path = format!("{parents}{}", command.get_name());
    let command = match examples(&path) {
        [] => command,
        _ => command.after_help(example_lines(&path)),
    };
    let inner = format!("{path} ");
    command.mut_subcommands(|command| with_examples(command, &inner))
}

fn example_lines(path: &str) -> String {
    let mut text = "Examples:".to_owned();
    let longest = examples(path).iter().map(|(line, _)| line.len()).max().unwrap_or(0);
    for (line, purpose) in examples(path) {
        let example = format!("\n  {line:longest$}   {purpose}");
        text.push_str(example.trim_end());
    }
    text
}

fn section<'a>(
    title: &str,
    entries: impl Iterator<Item = (impl ToString, &'a str)> + Clone,
) -> String {
    let longest = entries.clone().map(|(name, _)| name.to_string().len()).max().unwrap_or(0);
    let indent = " ".repeat(longest + 4);
    let entries = entries.map(|(name, text)| {
        let lines = crate::render::wrap(&indent, text);
        format!("  {:longest$}  {}", name.to_string(), lines.trim())
    });
    format!("{title}:\n{}", entries.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every command that does something, as it is typed.
    fn leaves(command: &Command, parents: &str, found: &mut Vec<String>) {
        let path = format!("{parents}{}", command.get_name());
        let inner: Vec<_> =
            command.get_subcommands().filter(|inner| inner.get_name() != "help").collect();
        if inner.is_empty() {
            found.push(path);
            return;
        }
        inner.into_iter().for_each(|command| leaves(command, &format!("{path} "), found));
    }

    #[test]
    fn every_command_has_examples_and_every_example_is_a_command() {
        let mut commands = Vec::new();
        leaves(&command(), "", &mut commands);
        assert!(commands.len() > 20, "{commands:?}");
        for command in &commands {
            assert!(!examples(command).is_empty(), "`{command}` has no example");
        }
        for (path, examples) in EXAMPLES {
            assert!(*path == "sluice" || commands.iter().any(|known| known == path), "{path}?");
            for (line, _) in *examples {
                // The shell's quotes are gone when the program sees its words.
                let words =
                    line.split('\'').enumerate().flat_map(|(place, part)| match place % 2 {
                        0 => part.split_whitespace().collect::<Vec<_>>(),
                        _ => vec![part],
                    });
                let parsed = command().try_get_matches_from(words);
                assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
            }
        }
    }

    #[test]
    fn help_shows_examples_and_stays_narrow() {
        let mut command = command();
        let long = command.render_long_help().to_string();
        assert!(long.contains("Exit codes:") && long.contains("NO_COLOR"), "{long}");
        let apply = command.find_subcommand_mut("apply").unwrap();
        let help = apply.render_help().to_string();
        assert!(help.contains("sluice apply router.yaml --confirm 60s"), "{help}");
        assert!(long.lines().chain(help.lines()).all(|line| line.len() <= 100), "{long}{help}");
    }
}
