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

} // namespace horos::spec
