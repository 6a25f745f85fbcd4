// Guests with a virtual APIC: accesses to its page, to CR8 and to x2APIC MSRs, and virtual
// interrupts (SDM vol. 3C chapter 29).
#include "guest_maker.hpp"

namespace horos::fuzz::vmx {

// A write of a register, or what virtual interrupts are delivered by.
void Maker::apic(const Snippet& snippet) {
    const bool wanted = snippet.use == Snippet::APIC ? !one_in(8) : one_in(16);
    if (!wanted || !p.proc.can(proc::USE_TPR_SHADOW)) {
        return;
    }
    const bool x2apic = snippet.msr >> 8 == x86::msr::X2APIC_BASE >> 8 ? !one_in(8) : one_in(8);
    set(F::PROC_CONTROLS, p.proc, proc::ACTIVATE_SECONDARY, true);
    set(F::PROC_CONTROLS, p.proc, proc::USE_TPR_SHADOW, !one_in(12));
    set(F::PROC_CONTROLS, p.proc, proc::CR8_LOAD_EXITING | proc::CR8_STORE_EXITING, one_in(8));
    set(F::PROC_CONTROLS, p.proc, proc::USE_MSR_BITMAPS, !one_in(8));
    set(F::PIN_CONTROLS, p.pin, pin::EXTERNAL_INTERRUPT_EXITING, true);
    set(F::PROC_CONTROLS_2, p.proc2, proc2::VIRTUALIZE_X2APIC, x2apic);
    set(F::PROC_CONTROLS_2, p.proc2, proc2::VIRTUALIZE_APIC_ACCESSES, !x2apic);
    set(F::PROC_CONTROLS_2, p.proc2, proc2::APIC_REGISTER_VIRTUALIZATION, one_in(2));
    set(F::PROC_CONTROLS_2, p.proc2, proc2::VIRTUAL_INTERRUPT_DELIVERY, !one_in(3));
    s()[F::VIRTUAL_APIC_ADDRESS] = VAPIC_PA;
    s()[F::APIC_ACCESS_ADDRESS] = APIC_PA;
    if (snippet.use == Snippet::APIC || one_in(2)) {
        // Every register, the gaps between them, and what lies across their ends.
        const uint64_t offset = one_in(2) ? pick(0x80, 0xb0, 0xb0, 0x300, 0x310) : below(65) * 16;
        test.guest.gpr[3] = APIC_PA + offset + (one_in(4) ? below(16) : 0);
    }
    const uint64_t port = test.guest.gpr[2];
    apic_state();
    if (uses_port(snippet)) {
        test.guest.gpr[2] = port;
    }
    if (snippet.msr != 0) { // the reserved bits of most registers
        test.guest.gpr[2] = one_in(8) ? 1 : 0;
        test.guest.gpr[0] = one_in(4) ? 0 : test.guest.gpr[0];
    }
}

void Maker::apic_state() {
    auto& g = test.guest;
    s()[Extra::VTPR] = one_in(3) ? 0 : below(256);
    s()[F::TPR_THRESHOLD] = one_in(2) ? 0 : below(16);
    const uint64_t requested = below(256), serviced = one_in(2) ? 0 : below(256);
    s()[F::GUEST_INTERRUPT_STATUS] = serviced << 8 | (one_in(3) ? 0 : requested);
    const auto vector_bit = [&](uint64_t base, uint64_t vector) {
        poke(VAPIC_PA + base + vector / 32 * 16, 1ull << vector % 32);
    };
    if (!one_in(4)) {
        vector_bit(0x200, requested);
        vector_bit(0x100, serviced);
    }
    for (unsigned n = unsigned(below(3)); n > 0; --n) { // others that are requested or in service
        vector_bit(one_in(2) ? 0x100 : 0x200, below(256));
    }
    for (unsigned n = 0; n < 4; ++n) {
        s()[plus(F::EOI_EXIT_BITMAP_0, n)] = one_in(2) ? ~0ull : 0;
    }
    g.gpr[0] = one_in(3) ? below(16) : one_in(8) ? random() : below(256);
    // The interrupt command "fixed, to itself", and its neighbours.
    g.gpr[2] = one_in(2) ? 0x40000 | below(256) : one_in(2) ? 0 : random();
    g.gpr[2] ^= one_in(4) ? 1ull << below(32) : 0;
    if (one_in(2)) {
        s()[F::GUEST_RFLAGS] |= x86::rflags::IF;
    }
    if (one_in(2)) { // handlers for every vector
        s()[F::GUEST_IDTR_BASE] = IDT_PA;
        s()[F::GUEST_IDTR_LIMIT] = 0xfff;
        s()[F::GUEST_GDTR_BASE] = DESCRIPTORS_PA;
        s()[F::GUEST_GDTR_LIMIT] = 0x17;
    }
}

} // namespace horos::fuzz::vmx
