//! Numbers of the kernel's ABI, named as in linux/ip_vs.h and linux/genetlink.h.

/// Declares constants that count up, as a C `enum` does.
macro_rules! count_up {
    ($kind:ty, $first:expr => $name:ident $(, $rest:ident)*) => {
        #[allow(dead_code, reason = "enumerations are listed without gaps")]
        pub(super) const $name: $kind = $first;
        count_up!($kind, $first + 1 => $($rest),*);
    };
    ($kind:ty, $first:expr =>) => {};
}

// linux/netlink.h
pub(super) const NLM_F_ACK: u16 = 0x4;

// linux/genetlink.h
pub(super) const GENL_ID_CTRL: u16 = 0x10;
pub(super) const CTRL_CMD_GETFAMILY: u8 = 3;
pub(super) const CTRL_VERSION: u8 = 1;
count_up!(u16, 1 => CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME);

// linux/ip_vs.h
pub(super) const IPVS_GENL_NAME: &str = "IPVS";
pub(super) const IPVS_GENL_VERSION: u8 = 1;
count_up!(u8, 1 => IPVS_CMD_NEW_SERVICE, IPVS_CMD_SET_SERVICE, IPVS_CMD_DEL_SERVICE, IPVS_CMD_GET_SERVICE,
    IPVS_CMD_NEW_DEST, IPVS_CMD_SET_DEST, IPVS_CMD_DEL_DEST, IPVS_CMD_GET_DEST, IPVS_CMD_NEW_DAEMON,
    IPVS_CMD_DEL_DAEMON, IPVS_CMD_GET_DAEMON, IPVS_CMD_SET_CONFIG, IPVS_CMD_GET_CONFIG, IPVS_CMD_SET_INFO,
    IPVS_CMD_GET_INFO, IPVS_CMD_ZERO, IPVS_CMD_FLUSH);
count_up!(u16, 1 => IPVS_CMD_ATTR_SERVICE, IPVS_CMD_ATTR_DEST, IPVS_CMD_ATTR_DAEMON, IPVS_CMD_ATTR_TIMEOUT_TCP,
    IPVS_CMD_ATTR_TIMEOUT_TCP_FIN, IPVS_CMD_ATTR_TIMEOUT_UDP);
count_up!(u16, 1 => IPVS_SVC_ATTR_AF, IPVS_SVC_ATTR_PROTOCOL, IPVS_SVC_ATTR_ADDR, IPVS_SVC_ATTR_PORT,
    IPVS_SVC_ATTR_FWMARK, IPVS_SVC_ATTR_SCHED_NAME, IPVS_SVC_ATTR_FLAGS, IPVS_SVC_ATTR_TIMEOUT,
    IPVS_SVC_ATTR_NETMASK, IPVS_SVC_ATTR_STATS, IPVS_SVC_ATTR_PE_NAME, IPVS_SVC_ATTR_STATS64);
count_up!(u16, 1 => IPVS_DEST_ATTR_ADDR, IPVS_DEST_ATTR_PORT, IPVS_DEST_ATTR_FWD_METHOD, IPVS_DEST_ATTR_WEIGHT,
    IPVS_DEST_ATTR_U_THRESH, IPVS_DEST_ATTR_L_THRESH, IPVS_DEST_ATTR_ACTIVE_CONNS, IPVS_DEST_ATTR_INACT_CONNS,
    IPVS_DEST_ATTR_PERSIST_CONNS, IPVS_DEST_ATTR_STATS, IPVS_DEST_ATTR_ADDR_FAMILY, IPVS_DEST_ATTR_STATS64,
    IPVS_DEST_ATTR_TUN_TYPE, IPVS_DEST_ATTR_TUN_PORT, IPVS_DEST_ATTR_TUN_FLAGS);
count_up!(u16, 1 => IPVS_STATS_ATTR_CONNS, IPVS_STATS_ATTR_INPKTS, IPVS_STATS_ATTR_OUTPKTS, IPVS_STATS_ATTR_INBYTES,
    IPVS_STATS_ATTR_OUTBYTES, IPVS_STATS_ATTR_CPS, IPVS_STATS_ATTR_INPPS, IPVS_STATS_ATTR_OUTPPS,
    IPVS_STATS_ATTR_INBPS, IPVS_STATS_ATTR_OUTBPS);
count_up!(u16, 1 => IPVS_INFO_ATTR_VERSION, IPVS_INFO_ATTR_CONN_TAB_SIZE);

pub(super) const IP_VS_SVC_F_PERSISTENT: u32 = 0x1;
pub(super) const IP_VS_SVC_F_HASHED: u32 = 0x2;
pub(super) const IP_VS_SVC_F_ONEPACKET: u32 = 0x4;
pub(super) const IP_VS_SVC_F_SCHED1: u32 = 0x8;
pub(super) const IP_VS_SVC_F_SCHED2: u32 = 0x10;
pub(super) const IP_VS_SVC_F_SCHED3: u32 = 0x20;

pub(super) const IP_VS_CONN_F_FWD_MASK: u32 = 0x7;
pub(super) const IP_VS_CONN_F_MASQ: u32 = 0;
pub(super) const IP_VS_CONN_F_LOCALNODE: u32 = 1;
pub(super) const IP_VS_CONN_F_TUNNEL: u32 = 2;
pub(super) const IP_VS_CONN_F_DROUTE: u32 = 3;
pub(super) const IP_VS_CONN_F_BYPASS: u32 = 4;

// linux/socket.h
pub(super) const AF_INET: u16 = 2;
pub(super) const AF_INET6: u16 = 10;
