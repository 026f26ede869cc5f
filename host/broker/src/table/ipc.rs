//! System V objects and message queues.

use super::{Row, broker, continuing, deny, native, nr};
use crate::calls::sysv;
use rustix::io::Errno;

pub(super) const ROWS: &[Row] = &[
    broker("shmget", nr(29, 194), sysv::shmget),
    continuing("shmat", nr(30, 196), sysv::shmat),
    continuing("shmctl", nr(31, 195), sysv::shmctl),
    native("shmdt", nr(67, 197)),
    broker("semget", nr(64, 190), sysv::semget),
    continuing("semop", nr(65, 193), sysv::semop),
    continuing("semctl", nr(66, 191), sysv::semctl),
    continuing("semtimedop", nr(220, 192), sysv::semop),
    broker("msgget", nr(68, 186), sysv::msgget),
    continuing("msgsnd", nr(69, 189), sysv::message),
    continuing("msgrcv", nr(70, 188), sysv::message),
    continuing("msgctl", nr(71, 187), sysv::msgctl),
    deny("mq_open", nr(240, 180), Errno::NOSYS, "queues are named in a space that steps share"),
    deny("mq_unlink", nr(241, 181), Errno::NOSYS, "queues are named in a space that steps share"),
    deny("mq_timedsend", nr(242, 182), Errno::NOSYS, "queues are named in a space that steps share"),
    deny("mq_timedreceive", nr(243, 183), Errno::NOSYS, "queues are named in a space that steps share"),
    deny("mq_notify", nr(244, 184), Errno::NOSYS, "queues are named in a space that steps share"),
    deny("mq_getsetattr", nr(245, 185), Errno::NOSYS, "queues are named in a space that steps share"),
];
