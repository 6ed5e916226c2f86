//! What a ring was made with.

use ringwire_abi::flags::*;

/// What works here as `io_uring_params::features` says it. Left out: a ring is not mapped into anybody's
/// memory (SINGLE_MMAP) nor registered (REG_REG_RING); there are no credentials (CUR_PERSONALITY), no
/// worker threads (NATIVE_WORKERS), no sockets with file descriptors for SQPOLL to use
/// (SQPOLL_NONFIXED), and no attributes of reads and writes (RW_ATTR).
const FEATURES: u32 = IORING_FEAT_NODROP
    | IORING_FEAT_SUBMIT_STABLE
    | IORING_FEAT_RW_CUR_POS
    | IORING_FEAT_FAST_POLL
    | IORING_FEAT_POLL_32BITS
    | IORING_FEAT_EXT_ARG
    | IORING_FEAT_RSRC_TAGS
    | IORING_FEAT_CQE_SKIP
    | IORING_FEAT_LINKED_FILE
    | IORING_FEAT_RECVSEND_BUNDLE
    | IORING_FEAT_MIN_TIMEOUT
    | IORING_FEAT_NO_IOWAIT;

/// The parameters of a ring: its sizes, its set-up flags, and what it can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    pub(crate) sq_entries: u32,
    pub(crate) cq_entries: u32,
    pub(crate) setup_flags: u32,
    pub(crate) sq_thread_idle: u32,
}

macro_rules! features {
    ($($name:ident $flag:ident $doc:literal),+ $(,)?) => {
        impl Parameters {
            $(
                #[doc = concat!("Whether ", $doc, " (`", stringify!($flag), "`).")]
                pub fn $name(&self) -> bool {
                    FEATURES & $flag != 0
                }
            )+
        }
    };
}

features! {
    is_feature_single_mmap IORING_FEAT_SINGLE_MMAP "both queues are one mapping",
    is_feature_nodrop IORING_FEAT_NODROP "completions wait for room in the queue",
    is_feature_submit_stable IORING_FEAT_SUBMIT_STABLE
        "what an entry points at, but for the payload, is copied when it is taken",
    is_feature_rw_cur_pos IORING_FEAT_RW_CUR_POS "an offset of -1 is taken",
    is_feature_cur_personality IORING_FEAT_CUR_PERSONALITY "requests have the submitter's credentials",
    is_feature_fast_poll IORING_FEAT_FAST_POLL "requests wait for readiness without a thread",
    is_feature_poll_32bits IORING_FEAT_POLL_32BITS "poll events have 32 bits",
    is_feature_sqpoll_nonfixed IORING_FEAT_SQPOLL_NONFIXED
        "the polling thread takes file descriptors that are not registered",
    is_feature_ext_arg IORING_FEAT_EXT_ARG "a wait takes a timeout and a signal mask",
    is_feature_native_workers IORING_FEAT_NATIVE_WORKERS "there are worker threads",
    is_feature_resource_tagging IORING_FEAT_RSRC_TAGS "registered buffers have tags",
    is_feature_skip_cqe_on_success IORING_FEAT_CQE_SKIP "a success can be silent",
    is_feature_linked_file IORING_FEAT_LINKED_FILE
        "a linked request finds its socket when it starts, not when it is taken",
    is_feature_recvsend_bundle IORING_FEAT_RECVSEND_BUNDLE "several buffers serve one completion",
    is_feature_min_timeout IORING_FEAT_MIN_TIMEOUT "a wait takes a minimum",
    is_feature_no_iowait IORING_FEAT_NO_IOWAIT "a wait can stay out of the load figures",
}

impl Parameters {
    fn is_setup(&self, flag: u32) -> bool {
        self.setup_flags & flag != 0
    }

    /// Whether a thread of the library's takes the submissions (`IORING_SETUP_SQPOLL`).
    pub fn is_setup_sqpoll(&self) -> bool {
        self.is_setup(IORING_SETUP_SQPOLL)
    }

    /// Whether completions are polled for: never here.
    pub fn is_setup_iopoll(&self) -> bool {
        self.is_setup(IORING_SETUP_IOPOLL)
    }

    /// Whether one thread alone submits (`IORING_SETUP_SINGLE_ISSUER`).
    pub fn is_setup_single_issuer(&self) -> bool {
        self.is_setup(IORING_SETUP_SINGLE_ISSUER)
    }

    /// Entries of the submission queue.
    pub fn sq_entries(&self) -> u32 {
        self.sq_entries
    }

    /// Entries of the completion queue.
    pub fn cq_entries(&self) -> u32 {
        self.cq_entries
    }

    /// How long the polling thread goes on without submissions before it sleeps, in milliseconds; 0
    /// is a second.
    pub fn sq_thread_idle(&self) -> u32 {
        self.sq_thread_idle
    }
}
