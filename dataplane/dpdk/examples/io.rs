//! Forwards what comes in at one device to another and prints what a packet costs: the layer's own
//! cost, to hold against `dpdk-testpmd --forward-mode=io` on the same devices.
//!
//! ```text
//! io CORE SECONDS FROM TO
//! io 1 5 net_pcap0,rx_pcap=flows.pcap,infinite_rx=1 net_null0
//! ```

use std::time::{Duration, Instant};

use sluice_dpdk::{
    BURST, DpdkError, Eal, EalOptions, Mempool, Port, PortSetup, free_bulk, pin_current_thread,
    register_thread, tsc, tsc_hz,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [core, seconds, from, to] = &arguments[..] else {
        return Err("usage: io CORE SECONDS FROM TO".into());
    };
    let (core, seconds) = (core.parse()?, seconds.parse()?);
    let eal =
        Eal::init(&EalOptions { name: "sluice-io", memory_mib: 512, ..EalOptions::default() })?;
    println!("hugepages: {}", eal.hugepages());
    let pool = Mempool::new(&eal, "packets", 65_535, 2048)?;
    std::thread::scope(|scope| {
        let worker =
            scope.spawn(|| forward(&eal, &pool, core, Duration::from_secs(seconds), from, to));
        worker.join().expect("the worker does not panic")
    })?;
    Ok(())
}

fn forward(
    eal: &Eal,
    pool: &Mempool,
    core: u16,
    time: Duration,
    from: &str,
    to: &str,
) -> Result<(), DpdkError> {
    pin_current_thread(core)?;
    let _registered = register_thread()?;
    let mut input = Port::attach(eal, from)?;
    let mut output = Port::attach(eal, to)?;
    let (mut rx, _) = input.configure(PortSetup::new(pool))?;
    let (_, mut tx) = output.configure(PortSetup::new(pool))?;
    input.start()?;
    output.start()?;
    let (rx, tx) = (&mut rx[0], &mut tx[0]);

    let mut burst = [const { None }; BURST];
    let (mut received, mut sent) = (0u64, 0u64);
    let start = Instant::now();
    let first = tsc();
    while start.elapsed() < time {
        for _ in 0..1024 {
            let n = rx.rx(&mut burst);
            let taken = tx.tx(&mut burst, n);
            if taken < n {
                free_bulk(&mut burst[..n - taken]);
            }
            received += n as u64;
            sent += taken as u64;
        }
    }
    let nanoseconds = (tsc() - first) as f64 * 1e9 / tsc_hz() as f64;
    println!("received {received}, sent {sent}, {:.2} ns per packet", nanoseconds / sent as f64);
    Ok(())
}
