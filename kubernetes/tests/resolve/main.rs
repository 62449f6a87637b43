//! What Kubernetes objects come to, topic by topic: objects as short YAML in, short sentences about the result out.

mod addresses;
mod budget;
mod endpoints;
mod given;
mod mistakes;
mod node;
mod on_node;
mod policies;
mod ports;
mod readiness;
mod resolver;
mod selection;
mod shared;
mod source_ranges;
mod topology;
