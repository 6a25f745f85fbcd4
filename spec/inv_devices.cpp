#include "kernel/core/devices.hpp"
#include "kernel/core/frames.hpp"
#include "spec/invariants.hpp"

namespace horos::spec {

bool inv_interrupt(Frame f) {
    const Interrupt& i = interrupts[f];
    const bool bound = i.notification != 0;
    const bool notification = !bound || (frame_exists(i.notification) && i.bits != 0 &&
                                         frames[i.notification].type == ObjectType::notification);
    const bool line =
        i.gsi < max_gsi && i.vector == first_line_vector + i.gsi && (bound || i.masked == 1);
    const bool message =
        i.gsi < max_msi && i.vector == first_message_vector + i.gsi && i.masked == 0;
    return notification && (i.is_message != 0 ? message : line) && i.core < machine.core_count &&
           irq_of_vector[i.vector] == f;
}

bool inv_vector(u32 vector) {
    const Frame f = irq_of_vector[vector];
    return f == 0 || (frame_exists(f) && frames[f].type == ObjectType::interrupt &&
                      interrupts[f].vector == vector);
}

bool inv_ports(Frame f) {
    return port_ranges[f].first <= port_ranges[f].last && port_ranges[f].last <= 0xffff;
}

bool inv_mmio(Frame f) {
    const u64 pages = u64{1} << (machine.physical_bits - frame_bits);
    const Mmio& m = mmio_ranges[f];
    return m.count != 0 && m.first < pages && m.count <= pages - m.first;
}

bool inv_core_object(Frame f) { return core_objects[f].number < machine.core_count; }

} // namespace horos::spec
