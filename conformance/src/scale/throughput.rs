//! How much one forwarded connection carries, by our rules alone and through the flowtable.
//!
//! Apart from the other measurements because the number of services does not matter to it: one connection, established,
//! in bulk. Both ways are measured in turns, each with a new connection.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use agent::backend::Backend;
use backend_api::{
    Dataplane, Endpoint, EndpointAddress, Family, Frontend, LocalTraffic, NodeNetwork, Offload, PerFamily, Protocol,
    Report, Scope, Service, ServiceName, ServicePort, ServiceState,
};
use serde::{Deserialize, Serialize};
use testbed::Executor;

use super::cluster::POD_RANGE;
use super::dials::median;
use super::place::Place;
use super::programs::run;

/// What one connection carries in a second, in bytes; the median of all rounds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Throughput {
    /// In segments as large as the kernel makes them: as behind a card that merges and splits.
    pub bytes_per_second: f64,
    /// The same through the flowtable; none where the kernel, or the backend, has none.
    pub flowtable_bytes_per_second: Option<f64>,
    /// In packets of one frame each.
    pub frames_bytes_per_second: f64,
    /// The same through the flowtable.
    pub frames_flowtable_bytes_per_second: Option<f64>,
}

/// After so many packets a connection is handed over: soon, for it is not what is measured.
const AFTER: NonZeroU32 = NonZeroU32::new(4).expect("not 0");
/// How long a connection carries something.
const LASTS: Duration = Duration::from_secs(2);
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
const SERVER: EndpointAddress = EndpointAddress { ip: IpAddr::V4(Ipv4Addr::new(10, 128, 0, 1)), port: 9000 };
const PORT: u16 = 80;

/// Measures so many rounds, one connection each way and round.
///
/// # Errors
/// A sentence.
pub(super) fn throughput(backend: Backend, rounds: usize) -> Result<Throughput, String> {
    let place = Place::build("bulk")?;
    let executor = place.node.executor().map_err(|error| format!("runtime: {error}"))?;
    let listener = place.server.run(|| TcpListener::bind(SocketAddr::new(SERVER.ip, SERVER.port)));
    let listener = listener.map_err(|error| format!("bulk server: {error}"))?;
    let mut dataplane = executor.run(backend.open()).map_err(|error| error.to_string())?;
    // It ends with the process.
    std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| drop(swallow(stream))));
    let mut all: [Vec<f64>; 4] = Default::default();
    for _ in 0..rounds {
        for (frames, segments) in [(false, "65535"), (true, "1")] {
            run(&place.client, &["ip", "link", "set", "dev", "eth0", "gso_max_segs", segments], "")?;
            for through in [false, true] {
                let (synced, report) = sync(&executor, dataplane, through.then_some(AFTER));
                dataplane = synced;
                let Report { warnings, .. } = report?;
                if warnings.is_empty() {
                    let bytes = place.client.run(carry).map_err(|error| format!("bulk connection: {error}"))?;
                    all[usize::from(frames) * 2 + usize::from(through)].push(bytes);
                }
            }
        }
    }
    let [large, large_through, frames, frames_through] = all;
    Ok(Throughput {
        bytes_per_second: median(large),
        flowtable_bytes_per_second: median_of_any(large_through),
        frames_bytes_per_second: median(frames),
        frames_flowtable_bytes_per_second: median_of_any(frames_through),
    })
}

/// Nothing where nothing was measured.
fn median_of_any(values: Vec<f64>) -> Option<f64> {
    (!values.is_empty()).then(|| median(values))
}

/// Programs one service, with its connections handed over or not.
fn sync(
    executor: &Executor,
    mut dataplane: Box<dyn Dataplane>,
    after: Option<NonZeroU32>,
) -> (Box<dyn Dataplane>, Result<Report, String>) {
    let devices = [(1, "client0"), (2, "server0")].map(|(index, name)| (index, name.to_owned())).into();
    let pods = LocalTraffic::Source(POD_RANGE.parse().expect("our own range is one"));
    let mut state = ServiceState::new(NodeNetwork {
        local_traffic: PerFamily { v4: pods, ..PerFamily::default() },
        offload: after.map(|after| Offload { after, devices }),
        ..NodeNetwork::unknown()
    });
    let port = ServicePort {
        frontends: vec![Frontend::cluster_ip(SERVICE.into(), Protocol::Tcp, PORT)],
        endpoints: vec![Endpoint::elsewhere(SERVER)],
        ..ServicePort::new(Family::V4, Protocol::Tcp)
    };
    state.upsert(Service::new(ServiceName::new("default", "bulk"), vec![port])).expect("the service has no flaw");
    executor.run(async move {
        let report = dataplane.sync(&state, Scope::All).await.map_err(|error| error.to_string());
        (dataplane, report)
    })
}

/// Sends in bulk for a while; bytes per second, by when the server had all of them.
fn carry() -> io::Result<f64> {
    let mut stream = TcpStream::connect((SERVICE, PORT))?;
    let chunk = vec![0; 256 << 10];
    let (start, mut sent) = (Instant::now(), 0);
    while start.elapsed() < LASTS {
        stream.write_all(&chunk)?;
        sent += chunk.len();
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    stream.read_to_end(&mut Vec::new())?;
    Ok(sent as f64 / start.elapsed().as_secs_f64())
}

/// Reads all that comes.
fn swallow(mut stream: TcpStream) -> io::Result<()> {
    let mut chunk = vec![0; 256 << 10];
    while stream.read(&mut chunk)? > 0 {}
    Ok(())
}
