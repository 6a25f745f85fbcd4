#include "spec/boot.hpp"
#include "kernel/core/frames.hpp"

namespace horos::spec {

bool boot_frame(Frame f) {
    const FrameInfo& i = frames[f];
    const bool plain = i.owner == 0 && i.generation == 0 && i.references == 0 && i.mappings == 0 &&
                       i.live == 0 && i.level == 0;
    const bool memory =
        i.type == ObjectType::ram || i.type == ObjectType::reserved || i.type == ObjectType::kernel;
    return plain && memory &&
           (blocks[block_of(f)].state == BlockState::split || i.type == ObjectType::ram);
}

bool boot_block(Block b) {
    const BlockInfo& i = blocks[b];
    return i.owner == 0 && i.generation == 0 && i.mappings == 0 && i.state <= BlockState::whole;
}

bool boot_core(u32 core) {
    const Core& c = cores[core];
    const bool idle = c.thread == 0 && c.context == 0 && c.space == 0 && c.fpu_owner == 0 &&
                      c.ready == 0 && c.exhausted == 0 && c.timed == 0 && c.window_count == 0 &&
                      c.window == 0 && c.control == 0;
    return idle && boot_core_tags(core) && (c.online == 0 || core < machine.core_count);
}

bool boot_position(u32 core, u32 position) { return cores[core].sc[position] == 0; }
bool boot_vector(u32 vector) { return irq_of_vector[vector] == 0; }

bool boot_core_tags(u32 core) {
    const Core& c = cores[core];
    return c.online == 0 ? c.tlb_era == 0 : c.tlb_era == 1 && c.tlb_next == 1;
}

bool boot_root(Frame domain, Frame table, Frame thread) {
    const Thread& t = threads[thread];
    return is(domain, ObjectType::domain) && is(table, ObjectType::page_table) &&
           frames[table].level == 4 && is(thread, ObjectType::thread) &&
           is(t.space, ObjectType::space) && spaces[t.space].root == table &&
           t.state == ThreadState::stopped && t.running_on == t.sc && t.vcpu == 0 &&
           is(t.sc, ObjectType::sched_context) && sched_contexts[t.sc].running == thread &&
           sched_contexts[t.sc].core == 0 && sched_contexts[t.sc].position == sc_slots - 1;
}

bool boot_table(Frame table, u32 level, u32 index) {
    return is(table, ObjectType::page_table) && frames[table].level == level && index < 512 &&
           (level < 4 || index < 256);
}

} // namespace horos::spec
