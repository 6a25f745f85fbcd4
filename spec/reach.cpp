#include "spec/reach.hpp"
#include "spec/state.hpp"

namespace horos::spec {

Reached reached;

static bool is_in(Frame f) { return f == 0 || reached.frames[f] != 0; }
static bool is_block_in(Block b) { return reached.blocks[b] != 0; }
// A core that the machine has not is nobody's: `no_core` of a virtual CPU.
static bool is_core_in(u32 core) { return core >= machine.core_count || reached.cores[core] != 0; }

bool reach_owned_frame(Frame f) {
    const Frame owner = owner_of(f);
    return owner == 0 || reached.frames[owner] == 0 || reached.frames[f] != 0;
}

bool reach_owned_block(Block b) {
    const Frame owner = owner_of_block(b);
    return owner == 0 || reached.frames[owner] == 0 || is_block_in(b);
}

bool reach_slot(Frame table, u32 i) {
    const CapSlot& s = cap_tables[table].slots[i];
    const bool alive = s.rights != 0 && s.generation == generation_of(s.type, s.object);
    if (reached.frames[table] == 0 || !alive)
        return true;
    if (s.type == ObjectType::block)
        return is_block_in(s.object);
    return is_in(s.object) && (s.type != ObjectType::irq_control || reached.irq_control != 0);
}

bool reach_domain(Frame domain, u32 i) {
    return reached.frames[domain] == 0 || is_in(domains[domain].tables[i]);
}

bool reach_entry(Frame table, u32 i) {
    if (reached.frames[table] == 0)
        return true;
    const Frame target = entry_target(table, i);
    switch (entry_kind(table, i)) {
    case EntryKind::table:
    case EntryKind::frame:
        return is_in(target);
    case EntryKind::block:
        return is_block_in(block_of(target));
    default:
        return true;
    }
}

bool reach_space(Frame f) {
    const Space& s = spaces[f];
    const bool io =
        s.io_map == 0 || (is_in(s.io_map) && is_in(s.io_map + 1) && is_in(s.io_map + 2));
    const bool msr = s.msr_map == 0 || (is_in(s.msr_map) && is_in(s.msr_map + 1));
    return reached.frames[f] == 0 || (is_in(s.root) && io && msr);
}

bool reach_thread(Frame f) {
    const Thread& t = threads[f];
    return reached.frames[f] == 0 ||
           (is_in(t.domain) && is_in(t.space) && is_in(t.sc) && is_in(t.running_on) &&
            is_in(t.bound) && is_in(t.monitor) && is_in(t.waiting_for) && is_in(t.client) &&
            is_in(t.server) && is_in(t.vcpu));
}

bool reach_sched_context(Frame f) {
    const SchedContext& s = sched_contexts[f];
    return reached.frames[f] == 0 || (is_in(s.thread) && is_in(s.running) && is_core_in(s.core));
}

bool reach_endpoint(Frame f) {
    const Endpoint& e = endpoints[f];
    return reached.frames[f] == 0 || (is_in(e.server) && (e.bound == 0 || is_core_in(e.core)));
}

bool reach_notification(Frame f) {
    const Notification& n = notifications[f];
    return reached.frames[f] == 0 || (is_in(n.waiter) && is_in(n.bound));
}

bool reach_interrupt(Frame f) {
    const Interrupt& i = interrupts[f];
    return reached.frames[f] == 0 || (is_in(i.notification) && reached.vectors[i.vector] != 0);
}

bool reach_vector(u32 vector) {
    const bool in = reached.vectors[vector] != 0;
    return (reached.irq_control == 0 || in) && (!in || is_in(irq_of_vector[vector]));
}

bool reach_vcpu(Frame f) {
    const Vcpu& v = vcpus[f];
    return reached.frames[f] == 0 || (is_in(v.space) && is_in(v.control) && is_in(v.fpu) &&
                                      is_in(v.state) && is_in(v.thread) && is_core_in(v.core));
}

bool reach_core_object(Frame f) {
    return reached.frames[f] == 0 || is_core_in(core_objects[f].number);
}

bool reach_core(u32 number) {
    const Core& c = cores[number];
    return reached.cores[number] == 0 ||
           (is_in(c.thread) && is_in(c.context) && is_in(c.space) && is_in(c.fpu_owner));
}

bool reach_position(u32 core, u32 position) {
    return reached.cores[core] == 0 || is_in(cores[core].sc[position]);
}

bool reach_caller(u32 core) {
    return reached.cores[core] != 0 && cores[core].thread != 0 &&
           reached.frames[cores[core].thread] != 0;
}

} // namespace horos::spec
