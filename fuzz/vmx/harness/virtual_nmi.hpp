// Ends virtual-NMI blocking that a guest has left. An entry with bit 3 of the interruptibility
// state clear should do so itself (SDM vol. 3C §26.6.1); Bochs keeps the blocking until a guest's
// IRET (triage: virtual-nmi-sticks), and no NMI window would open in any of the cases that follow.
#pragma once

#include "instructions.hpp"

extern "C" uint32_t vmx_enter(uint32_t flags, const uint64_t* registers);
extern "C" uint64_t guest_registers[16];
extern "C" char unblocking_iret[];

namespace horos::fuzz::vmx {

namespace unblocking {
inline bool prepared = false, launched = false;
// Field encodings, SDM vol. 3D appendix B.
constexpr uint64_t PIN_CONTROLS = 0x4000, CS = 0x802, SS = 0x804, GDTR_BASE = 0x6816,
                   GDTR_LIMIT = 0x4810, INTERRUPTIBILITY = 0x4824, RSP = 0x681c, RIP = 0x681e;
constexpr uint64_t NMI_EXITING = 1 << 3, VIRTUAL_NMIS = 1 << 5, BLOCKING_BY_NMI = 1 << 3;
} // namespace unblocking

// The guest: that of the current VMCS, which holds the fields of the entry that starts a run.
inline void prepare_unblocking() {
    using namespace unblocking;
    uint64_t pin = 0;
    vmread(PIN_CONTROLS, pin);
    vmwrite(PIN_CONTROLS, pin | NMI_EXITING | VIRTUAL_NMIS);
    vmwrite(CS, 0x08);
    vmwrite(SS, 0x10);
    vmwrite(GDTR_BASE, DESCRIPTORS_PA);
    vmwrite(GDTR_LIMIT, 0x1f);
    prepared = true;
}

// After an exit: whether NMIs are blocked for the next guest.
inline bool virtual_nmis_blocked() {
    using namespace unblocking;
    uint64_t pin = 0, state = 0;
    vmread(PIN_CONTROLS, pin);
    vmread(INTERRUPTIBILITY, state);
    return prepared && (pin & VIRTUAL_NMIS) != 0 && (state & BLOCKING_BY_NMI) != 0;
}

// Runs an IRET to the filler's VMCALL. Leaves the guest's stack and another VMCS current.
inline bool unblock_virtual_nmis() {
    using namespace unblocking;
    vmptrld(UNBLOCKING_VMCS_PA);
    const uint64_t frame[] = {CODE_PA + CODE_BYTES, 0x08, 2, STACK_PA, 0x10};
    const uint64_t place = STACK_PA - sizeof frame;
    for (unsigned n = 0; n < sizeof frame / 8; ++n) {
        qwords(place)[n] = frame[n];
    }
    vmwrite(RSP, place);
    vmwrite(RIP, reinterpret_cast<uint64_t>(unblocking_iret));
    vmwrite(INTERRUPTIBILITY, 0);
    const uint32_t outcome = vmx_enter(launched ? FLAG_RESUME : 0u, guest_registers);
    launched = launched || outcome == EXITED;
    return outcome == EXITED;
}

} // namespace horos::fuzz::vmx
