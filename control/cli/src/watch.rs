//! `sluice watch`: what happens, while it happens.

use std::time::Duration;

use crate::client::{Client, Lines, with_query};
use crate::failed::Failed;
use crate::{output, render};

/// How often a control process that is gone is looked for.
const PAUSE: Duration = Duration::from_millis(200);

/// Writes events until nobody reads them. A control process that goes away is waited for; one that
/// was never there is a failure.
pub(crate) async fn run(client: &Client, drops: Option<u64>, json: bool) -> Result<(), Failed> {
    let path = with_query("/v1/watch", &[("drops", drops.map(|rate| rate.to_string()))]);
    let mut lines = client.lines(&path).await?;
    loop {
        while let Some(line) = lines.next().await {
            let text = if json { line + "\n" } else { render::event(&line) };
            if !output::write(&text)? {
                return Ok(());
            }
        }
        eprintln!("sluice: the control process is gone, packets are forwarded; waiting for it");
        lines = reconnect(client, &path).await?;
        eprintln!("sluice: the control process is back; what happened in between was not seen");
    }
}

async fn reconnect(client: &Client, path: &str) -> Result<Lines, Failed> {
    loop {
        tokio::time::sleep(PAUSE).await;
        match client.lines(path).await {
            Err(Failed::NotRunning { .. } | Failed::Conversation { .. }) => {}
            answer => return answer,
        }
    }
}
