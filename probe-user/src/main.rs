//! The `pinscope` binary.

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_writer(std::io::stderr).init();
    let args: Vec<String> = std::env::args().collect();
    let mode = match args[1].as_str() { "kprobe" => pinscope::kernel::hooks::AttachMode::Kprobe, "fentry" => pinscope::kernel::hooks::AttachMode::Fentry, _ => pinscope::kernel::hooks::AttachMode::Auto };
    let o = pinscope::kernel::probes::Options { attach: mode, hooks: vec![], events_per_second: 0, measure_self: false };
    let t = std::time::Instant::now();
    let mut p = pinscope::kernel::probes::Probes::attach(&o)?;
    eprintln!("attached in {:?}", t.elapsed());
    for h in p.snapshot()?.hooks { eprintln!("{:?}", h); }
    let st = std::process::Command::new(&args[2]).args(&args[3..]).status()?;
    p.stop();
    let s = p.snapshot()?;
    for (g, by) in &s.groups { println!("{g:?}"); for (i, c) in by.iter().enumerate() { if c.folios>0 { println!("   {} {c:?}", probe_ebpf::Verdict::ALL[i].name()); } } }
    for h in &s.hooks { println!("{} {:?} {:?} {:?}", h.name, h.state, h.hits, h.missed); }
    println!("victims {:?}\nsubs {:?}\nlost {:?} inflight {} cost {:?}\nper_folio {:?}", s.victims, s.subscribers, s.lost, s.in_flight, s.cost, s.per_folio);
    eprintln!("{st}");
    Ok(())
}
