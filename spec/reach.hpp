// What the capabilities of a domain reach: a set of frames, blocks and cores that is closed under
// everything by which the kernel comes from one to the next. Isolation says of every closed set
// that holds the caller: a call changes nothing outside of it, and it is closed afterwards
// (proofs/theorems/isolation.cpp). Two domains have no channel when there are such sets of which no
// two parts are common.
#pragma once
#include "spec/contributions.hpp"

namespace horos::spec {

// The set. Nothing in spec/ writes it: it is the reader's choice.
struct Reached {
    u8 frames[max_frames];
    u8 blocks[max_blocks];
    u8 cores[max_cores];
    u8 vectors[256];
    u8 irq_control; // the right to take any vector that is free
};
extern "C" Reached reached;

// ---- closed at one place. True of what is not in the set.
bool reach_owned_frame(Frame f); // what a domain in the set owns is in the set
bool reach_owned_block(Block b);
bool reach_slot(Frame table, u32 i); // capabilities that are alive
bool reach_domain(Frame domain, u32 i);
bool reach_entry(Frame table, u32 i); // page tables
bool reach_space(Frame space);
bool reach_thread(Frame thread);
bool reach_sched_context(Frame sc);
bool reach_endpoint(Frame endpoint);
bool reach_notification(Frame notification);
bool reach_interrupt(Frame interrupt);
bool reach_vcpu(Frame vcpu);
bool reach_vector(u32 vector);
bool reach_core_object(Frame object);
bool reach_core(u32 core);
bool reach_position(u32 core, u32 position);

// Whose step it is: the thread that is running on the core, and the core.
bool reach_caller(u32 core);

} // namespace horos::spec
