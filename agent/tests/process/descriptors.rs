//! Few descriptors, and clients that hold as many as they can: the agent follows its objects all the same.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::process::Command;
use std::time::Duration;

use super::given::{ENDPOINT, HEALTH, Node, PATIENCE, service};

/// As `ulimit -n` would say it: the agent cannot raise it.
const FEW: usize = 256;

fn few() -> [String; 2] {
    ["prlimit".to_owned(), format!("--nofile={FEW}:{FEW}")]
}

fn open_by(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}

#[test]
fn clients_of_many_servers_cannot_keep_the_agent_from_reading() {
    if testbed::privilege::skip() {
        return;
    }
    let node = Node::new();
    let ports: Vec<u16> = (30_101..=30_110).collect();
    for (i, port) in ports.iter().enumerate() {
        let spec = format!(
            "type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: {port}, allocateLoadBalancerNodePorts: false"
        );
        let balanced = service(&format!("balanced-{i}"), &format!("10.96.0.{}", 10 + i), &spec);
        node.put(
            &format!("{i}.yaml"),
            &format!("{balanced}status: {{loadBalancer: {{ingress: [{{ip: 192.0.2.{i}}}]}}}}\n"),
        );
    }
    let [prlimit, limit] = few();
    let agent = node.start(&[&prlimit, &limit], &["--nodeport-addresses=all"]);
    for port in &ports {
        let at = format!("127.0.0.1:{port}");
        agent.until(&format!("{at} to answer"), || node.ask(&at, "/").is_some());
    }
    let mut held = Vec::new();
    for port in &ports {
        for _ in 0..128 {
            let mut stream = node.connect(&format!("127.0.0.1:{port}")).unwrap();
            // The server may have closed it for another.
            let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: ");
            held.push(stream);
        }
    }
    agent.until("the clients to be served", || open_by(agent.process.id()) > FEW / 8);
    node.put("late.yaml", &service("late", "10.96.0.99", ""));
    agent.until("the file that came meanwhile", || node.status().contains("10.96.0.99:80/TCP"));
    assert_eq!(node.ask(HEALTH, "/livez").as_deref(), Some("200"), "{}", agent.log());
    assert!(open_by(agent.process.id()) < FEW - FEW / 4, "{}", agent.log());
    assert!(agent.log().contains("limit of open files is low"), "{}", agent.log());
}

#[test]
fn clients_of_node_ports_on_localhost_cannot_either() {
    if testbed::privilege::skip() {
        return;
    }
    let node = Node::new();
    let (_tcp, _udp) = node
        .namespace
        .run(|| (TcpListener::bind((ENDPOINT, 8080)).unwrap(), UdpSocket::bind((ENDPOINT, 8080)).unwrap()));
    let ports = "ports: [{name: t, port: 80, nodePort: 30080, protocol: TCP}, {name: u, port: 80, nodePort: 30080, protocol: UDP}]";
    node.put(
        "web.yaml",
        &format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: default}}\n\
             spec: {{type: NodePort, clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10], {ports}}}\n---\n\
             apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
             metadata: {{name: web-1, namespace: default, labels: {{kubernetes.io/service-name: web}}}}\n\
             ports: [{{name: t, port: 8080, protocol: TCP}}, {{name: u, port: 8080, protocol: UDP}}]\n\
             endpoints: [{{addresses: [{ENDPOINT}]}}]\n"
        ),
    );
    let [prlimit, limit] = few();
    let agent = node.start(&[&prlimit, &limit], &["--nodeport-addresses=localhost"]);
    agent.until("the port to open", || node.connect("127.0.0.1:30080").is_ok());
    let held = node.namespace.run(|| {
        let connections: Vec<_> = (0..300).map(|_| node.connect("127.0.0.1:30080")).collect();
        let flows: Vec<_> = (0..300).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        flows.iter().for_each(|flow| drop(flow.send_to(b"x", "127.0.0.1:30080")));
        (connections, flows)
    });
    agent.until("both to be forwarded", || open_by(agent.process.id()) > FEW / 4);
    node.put("late.yaml", &service("late", "10.96.0.99", ""));
    agent.until("the file that came meanwhile", || node.status().contains("10.96.0.99:80/TCP"));
    assert_eq!(node.ask(HEALTH, "/livez").as_deref(), Some("200"), "{}", agent.log());
    assert!(open_by(agent.process.id()) < FEW - FEW / 4, "{}", agent.log());
    drop(held);
}

#[test]
fn the_soft_limit_is_raised_to_the_hard_one() {
    if testbed::privilege::skip() {
        return;
    }
    let node = Node::new();
    let agent = node.start(&["prlimit", "--nofile=128:4000"], &[]);
    let limits = || fs::read_to_string(format!("/proc/{}/limits", agent.process.id())).unwrap();
    agent.until("the limit to be raised", || {
        limits().lines().any(|line| {
            line.split_whitespace().collect::<Vec<_>>() == ["Max", "open", "files", "4000", "4000", "files"]
        })
    });
}

/// In clock ticks, of 10 ms.
fn processor_time(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // Fields 14 and 15 of proc(5), user and system; the name is the second.
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn a_server_that_cannot_accept_waits_and_goes_on() {
    if testbed::privilege::skip() {
        return;
    }
    let node = Node::new();
    node.put("web.yaml", &service("web", "10.96.0.10", ""));
    let agent = node.start(&[], &[]);
    agent.until("the service", || node.status().contains("10.96.0.10:80/TCP"));
    agent.until("health to answer", || node.ask(HEALTH, "/livez").is_some());
    let process = agent.process.id();
    let limit_to = |most: usize| {
        let set = Command::new("prlimit").args([format!("--pid={process}"), format!("--nofile={most}:")]).status();
        assert!(set.unwrap().success());
    };
    // Fewer than are open.
    limit_to(3);
    let before = processor_time(process);
    let mut waiting = node.connect(HEALTH).unwrap();
    waiting.write_all(b"GET /livez HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    waiting.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let nothing = waiting.read(&mut [0; 4096]).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock, "the server is out of descriptors:\n{}", agent.log());
    let used = processor_time(process) - before;
    assert!(used < 10, "{used} ticks of 100 in a second");
    limit_to(4096);
    waiting.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
