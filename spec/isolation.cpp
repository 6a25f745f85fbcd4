#include "spec/isolation.hpp"

namespace horos::spec {

bool separate_from_machine(Frame domain, u32 i) {
    Cap cap;
    if (find(domain, i, cap) != Error::ok)
        return true;
    return cap.type != ObjectType::core && cap.type != ObjectType::irq_control &&
           cap.type != ObjectType::platform;
}

bool separate_from_domain(Frame domain, u32 i, Frame other) {
    Cap cap;
    if (find(domain, i, cap) != Error::ok)
        return true;
    if (cap.type == ObjectType::block)
        return owner_of_block(cap.object) != other;
    return cap.object != other && owner_of(cap.object) != other;
}

static bool apart(u64 first, u64 last, u64 other_first, u64 other_last) {
    return last < other_first || other_last < first;
}

bool separate_slots(Frame domain, u32 i, Frame other, u32 j) {
    Cap a;
    Cap b;
    if (find(domain, i, a) != Error::ok || find(other, j, b) != Error::ok || a.type != b.type)
        return true;
    if (a.object == b.object)
        return false;
    if (a.type == ObjectType::ports)
        return apart(port_ranges[a.object].first, port_ranges[a.object].last,
                     port_ranges[b.object].first, port_ranges[b.object].last);
    if (a.type == ObjectType::mmio) {
        const Mmio& m = mmio_ranges[a.object];
        const Mmio& n = mmio_ranges[b.object];
        return apart(m.first, m.first + m.count - 1, n.first, n.first + n.count - 1);
    }
    return true;
}

} // namespace horos::spec
