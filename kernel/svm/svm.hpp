// The SVM backend: everything that knows the VMCB. Sections are of the AMD64 Architecture
// Programmer's Manual ("APM") vol. 2, rev. 3.42.
#pragma once
#include "kernel/core/guest_state.hpp"
#include <horos/defs/svm.hpp>
#include <horos/defs/svm_rules.hpp>
#include <horos/defs/x86.hpp>

namespace horos::core {

extern "C" svm::Vmcb vmcbs[max_frames];

// What this processor's guests may set, found at boot.
struct SvmLimits {
    u64 cr4; // bits that may be one
    u64 efer;
    u64 physical_mask; // of CR3: address bits that exist
};
extern SvmLimits svm_limits;

// What a processor with SVM lacks of what Horos needs; null: nothing.
const char* svm_missing();
// Once at boot: limits, default permission maps.
void svm_init();
// On each core as it comes up: EFER.SVME, VM_HSAVE_PA, the host's own VMLOAD state.
void svm_enable_cpu(u32 core);

// The frames that machine.host_frames holds for a core: VMRUN's host save area, and a VMCB with
// the host state that VMLOAD restores.
inline Frame host_save_frame(u32 core) { return machine.host_frames + 2 * core; }
inline Frame host_state_frame(u32 core) { return machine.host_frames + 2 * core + 1; }

// run.S: one VMRUN. It keeps no register of its caller's but RBP, so that none is saved twice.
extern "C" [[clang::preserve_none]] void svm_run(u64 vmcb, u64* registers);

// Intercepts that no VMM can switch off (docs/decisions/0003-mandatory-intercepts.md).
namespace mandatory {
using svm::bit;
using svm::Misc1;
using svm::Misc2;
inline constexpr u32 exceptions = 1u << 1 | 1u << 17 | 1u << 18; // #DB, #AC, #MC
inline constexpr u32 misc1 =
    bit(Misc1::INTR) | bit(Misc1::NMI) | bit(Misc1::INIT) | bit(Misc1::RDPMC) | bit(Misc1::CPUID) |
    bit(Misc1::RSM) | bit(Misc1::INVD) | bit(Misc1::HLT) | bit(Misc1::INVLPGA) |
    bit(Misc1::IOIO_PROT) | bit(Misc1::MSR_PROT) | bit(Misc1::TASK_SWITCH) |
    bit(Misc1::FERR_FREEZE) | bit(Misc1::SHUTDOWN);
inline constexpr u32 misc2 = bit(Misc2::VMRUN) | bit(Misc2::VMMCALL) | bit(Misc2::VMLOAD) |
                             bit(Misc2::VMSAVE) | bit(Misc2::STGI) | bit(Misc2::CLGI) |
                             bit(Misc2::SKINIT) | bit(Misc2::WBINVD) | bit(Misc2::MONITOR) |
                             bit(Misc2::MWAIT) | bit(Misc2::XSETBV) | bit(Misc2::RDPRU);
inline constexpr u32 misc3 = bit(svm::Misc3::INVLPGB) | bit(svm::Misc3::INVLPGB_ILLEGAL) |
                             bit(svm::Misc3::MCOMMIT) | bit(svm::Misc3::TLBSYNC);
} // namespace mandatory

// An interrupted event that must be delivered again, as EVENTINJ; 0 for one whose instruction
// starts over (§15.7.2: INTn, INT3 and INTO leave RIP at the instruction).
u64 event_to_replay(u64 exit_int_info);

} // namespace horos::core
