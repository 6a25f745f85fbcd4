// QEMU's emulation (TCG, seen in 7.2) leaves the host without paging when a guest exits with
// EFER.LME set, CR0.PG clear and CR4.PAE clear: it loads the host's CR0 while the guest's EFER and
// CR4 are still in force, finds the combination illegal, and keeps the old CR0. The architecture
// loads the host's state as a whole (APM vol. 2 §15.6). On TCG no guest gets into that state: the
// guard refuses it, and the two writes that lead there exit to the VMM, which comes back through
// the guard: CR0 writes other than TS and MP while paging, CR4 writes while not.
#pragma once
#include "kernel/svm/svm.hpp"

namespace horos::core {

inline bool would_lose_host(u64 cr0, u64 cr4, u64 efer) {
    return machine.loses_paging != 0 && (efer & x86::efer::LME) != 0 && (cr0 & x86::cr0::PG) == 0 &&
           (cr4 & x86::cr4::PAE) == 0;
}

// Sets the intercepts for the state in the VMCB. Called when the VMM has changed that state; the
// guest cannot, because EFER writes always exit.
inline void guard_long_mode(svm::Vmcb& b) {
    if (machine.loses_paging == 0)
        return;
    const bool lme = (b.save.efer & x86::efer::LME) != 0;
    const bool paging = (b.save.cr0 & x86::cr0::PG) != 0;
    constexpr u32 cr0 = bit(svm::Misc1::CR0_SEL_WRITE);
    b.control.intercept_misc1 = (b.control.intercept_misc1 & ~cr0) | (lme && paging ? cr0 : 0);
    if (lme && !paging)
        b.control.intercept_cr |= svm::intercept_write(4);
}

} // namespace horos::core
