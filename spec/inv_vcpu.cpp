#include "kernel/core/frames.hpp"
#include "spec/invariants.hpp"

namespace horos::spec {

static bool is_type(Frame f, ObjectType type) { return frame_exists(f) && frames[f].type == type; }

bool inv_vcpu_links(Frame f) {
    const Vcpu& v = vcpus[f];
    return is_type(v.space, ObjectType::space) && spaces[v.space].kind == SpaceKind::guest &&
           is_type(v.control, ObjectType::vmcb) && is_type(v.fpu, ObjectType::fpu) &&
           is_type(v.state, ObjectType::ram) && (v.core == no_core || v.core < machine.core_count);
}

bool inv_vcpu_thread(Frame f) {
    const Vcpu& v = vcpus[f];
    return v.thread == 0 || (is_type(v.thread, ObjectType::thread) && threads[v.thread].vcpu == f &&
                             v.core != no_core);
}

// Of the present era of its core's TLB tags.
static bool has_tag(const Vcpu& v) {
    return v.core < machine.core_count && v.tlb_era == cores[v.core].tlb_era;
}

bool inv_tag(Frame f) {
    const Vcpu& v = vcpus[f];
    const bool era =
        v.core < machine.core_count ? v.tlb_era <= cores[v.core].tlb_era : v.tlb_era == 0;
    return era && (!has_tag(v) || (v.tlb_tag >= 1 && v.tlb_tag < cores[v.core].tlb_next));
}

bool inv_core_tags(u32 number) {
    const Core& c = cores[number];
    return c.online == 0 || (c.tlb_era != 0 && c.tlb_next >= 1 && c.tlb_next <= machine.tlb_tags);
}

// No two virtual CPUs use the same translations.
bool inv_tags_differ(Frame f, Frame g) {
    const Vcpu& v = vcpus[f];
    const Vcpu& w = vcpus[g];
    return f == g || !has_tag(v) || !has_tag(w) || v.core != w.core || v.tlb_tag != w.tlb_tag;
}

} // namespace horos::spec
