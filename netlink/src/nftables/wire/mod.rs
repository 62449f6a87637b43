//! Between values and the bytes of netlink, both ways, pure and total.
//!
//! What the kernel dumps in a form that this crate never writes is kept as it is ([`super::Expr::Unknown`]), so that a
//! comparison with what is wanted fails instead of lying.

mod element;
mod object;
mod put_expr;
mod read_expr;

pub(crate) use element::{put_element, read_element};
pub(crate) use object::{
    put_chain, put_flowtable, put_rule, put_set, put_table, read_chain, read_flowtable, read_rule, read_set,
    read_table, table_name,
};
pub(crate) use read_expr::read_verdict;

#[cfg(test)]
mod laws;
