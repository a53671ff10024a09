use sluice_policy::model::MacAddress;

use super::*;

fn port(name: &str, link: bool) -> Port {
    Port {
        name: name.into(),
        device: "net_null0".into(),
        driver: "net_null".into(),
        mac: MacAddress::default(),
        link,
        speed_mbps: None,
        mtu: 1500,
        rx_queues: 1,
        tx_queues: 1,
        workers: vec![0],
        error: None,
    }
}

#[test]
fn ready_says_how_many_ports_and_which_have_no_link() {
    let ports = [port("lan", true), port("wan", true)];
    assert_eq!(ready_line(&ports, 1), "sluice: ready, 2 ports, generation 1");
    assert_eq!(
        ready_line(&[port("lan", false)], 4),
        "sluice: ready, 1 port (no link: lan), generation 4"
    );
}

#[test]
fn the_dataplane_section_becomes_arguments() {
    use clap::Parser;
    let line = "sluice up -c lab.yaml --dir /tmp/x --name lab --log warn";
    let cli = crate::args::Cli::try_parse_from(line.split_whitespace()).unwrap();
    let crate::args::Command::Up(options) = cli.command else { panic!() };
    let dataplane = Dataplane {
        cores: vec![1, 3],
        memory: 256,
        limits: sluice_policy::config::Limits::default(),
    };
    let directory = cli.appliance.directory();
    let args = dataplane_args(&cli.appliance, &directory, &options, &dataplane);
    let text: Vec<_> = args.iter().map(|arg| arg.to_str().unwrap()).collect();
    assert_eq!(
        text.join(" "),
        "--dir /tmp/x --name lab --cores 1,3 --memory 256 --max-ports 32 --max-rules 16384 \
         --max-neighbours 4096 --max-flows 131072 --log warn --log-format text --die-with-parent"
    );
    let args = control_args(&directory, &cli.appliance.state(), &options);
    let text: Vec<_> = args.iter().map(|arg| arg.to_str().unwrap()).collect();
    assert_eq!(
        text.join(" "),
        "--dir /tmp/x --state /tmp/x/state --config lab.yaml --log warn --log-format text \
         --die-with-parent"
    );
}
