// The VMX backend: everything that knows the VMCS. Sections are of the Intel SDM vol. 3C, order
// number 325384-077US (April 2022).
#pragma once
#include "kernel/core/frames.hpp"
#include "kernel/core/guest_state.hpp"
#include <horos/defs/vmx.hpp>
#include <horos/defs/vmx_rules.hpp>
#include <horos/defs/x86.hpp>

namespace horos::core {

// A VMCS, as far as software may look at it (§24.2). Its fields are reached by VMREAD and VMWRITE.
struct Vmcs {
    u32 revision;
    u8 data[frame_size - 4];
};
extern "C" Vmcs vmcss[max_frames];

struct MsrList { // §24.7.2
    MsrEntry entries[frame_size / sizeof(MsrEntry)];
};
extern "C" MsrList msr_lists[max_frames];

// The controls that a VMCS has before its VMM asks for anything.
struct VmxControls {
    u32 pin, proc, proc2, exit, entry;
};

// What this processor is like, and what its guests may set. Found at boot.
struct VmxLimits {
    u64 cr4;       // bits that a guest may set to one
    u64 cr0_fixed; // bits that are one in a guest, but for those that unrestricted guests may
                   // choose
    VmxControls controls;
    u32 revision;
    u8 timer_shift;    // the preemption timer counts in units of this power of two of the TSC
    u8 any_length;     // events of software may be injected with an instruction length of 0
    u16 virtual_apics; // ways of abi::virtual_apic that it offers
};
extern VmxLimits vmx_limits;

// What a processor with VMX lacks of what Horos needs; null: nothing.
const char* vmx_missing();
// Once at boot: limits, default permission maps.
void vmx_init();
// On each core as it comes up: VMXON.
void vmx_enable_cpu(u32 core);
void vmx_disable_cpu(); // VMXOFF

// The privileged steps (vmcs.S). Zero is success, and anything else the VM-instruction error.
extern "C" {
u32 vmx_on(u64 region);
u32 vmx_off();
u32 vmx_clear(u64 vmcs);
u32 vmx_load(u64 vmcs);
u32 vmx_invept(u64 type, u64 eptp);
u32 vmx_invvpid(u64 type, u64 vpid);
u64 vmx_read(u32 field);
void vmx_write(u32 field, u64 value);
u32 vmx_run(u64* registers, u32 launched);
void vmx_access_failed(u32 error); // does not come back
extern const u8 vmx_exit_point[];
}
// Fails closed where the processor refuses what the kernel needs for itself.
void must_succeed(u32 error, const char* what);
[[gnu::always_inline]] inline u64 read_field(vmx::Field f) { return vmx_read(vmx::encoding(f)); }
[[gnu::always_inline]] inline u32 read_field32(vmx::Field f) {
    return static_cast<u32>(vmx_read(vmx::encoding(f)));
}
[[gnu::always_inline]] inline void write_field(vmx::Field f, u64 value) {
    vmx_write(vmx::encoding(f), value);
}

// The frames that machine.host_frames holds for a core: VMXON's region, and the MSRs that every
// exit loads.
inline Frame vmxon_frame(u32 core) { return machine.host_frames + 2 * core; }
inline Frame host_msrs_frame(u32 core) { return machine.host_frames + 2 * core + 1; }

// The guest's own MSRs that are in no field of the VMCS. The host has values of its own for each.
struct SwitchedMsr {
    u32 number;
    u64 VcpuState::* place;
};
inline constexpr SwitchedMsr switched_msrs[] = {
    {x86::msr::STAR, &VcpuState::star},
    {x86::msr::LSTAR, &VcpuState::lstar},
    {x86::msr::CSTAR, &VcpuState::cstar},
    {x86::msr::SFMASK, &VcpuState::sfmask},
    {x86::msr::KERNEL_GS_BASE, &VcpuState::kernel_gs_base},
};
inline constexpr u32 switched_count = 5;

// In the order of the VMCS's fields; GDTR and IDTR have a limit and a base there, and no more.
inline constexpr Segment VcpuState::* segment_registers[vmx::SEGMENTS + 2] = {
    &VcpuState::es, &VcpuState::cs,   &VcpuState::ss, &VcpuState::ds,   &VcpuState::fs,
    &VcpuState::gs, &VcpuState::ldtr, &VcpuState::tr, &VcpuState::gdtr, &VcpuState::idtr};

// Controls that no VMM can switch off (docs/decisions/0003-mandatory-intercepts.md). All are
// allowed on every processor that vmx_missing() lets pass.
namespace mandatory_vmx {
using namespace vmx;
inline constexpr u32 exceptions = 1u << 1 | 1u << 17 | 1u << 18; // #DB, #AC, #MC
inline constexpr u32 pin_controls =
    pin::EXTERNAL_INTERRUPT_EXITING | pin::NMI_EXITING | pin::VIRTUAL_NMIS;
inline constexpr u32 proc_controls =
    proc::USE_TSC_OFFSETTING | proc::HLT_EXITING | proc::MWAIT_EXITING | proc::RDPMC_EXITING |
    proc::USE_TPR_SHADOW | proc::USE_IO_BITMAPS | proc::USE_MSR_BITMAPS | proc::MONITOR_EXITING |
    proc::ACTIVATE_SECONDARY;
inline constexpr u32 proc_controls_2 =
    proc2::ENABLE_EPT | proc2::ENABLE_VPID | proc2::WBINVD_EXITING | proc2::UNRESTRICTED_GUEST;
inline constexpr u32 exit_controls = exit_ctl::SAVE_DEBUG_CONTROLS | exit_ctl::HOST_64BIT |
                                     exit_ctl::SAVE_PAT | exit_ctl::LOAD_PAT | exit_ctl::SAVE_EFER |
                                     exit_ctl::LOAD_EFER;
inline constexpr u32 entry_controls =
    entry_ctl::LOAD_DEBUG_CONTROLS | entry_ctl::LOAD_PAT | entry_ctl::LOAD_EFER;
// What serves a guest's APIC in one of the ways of abi::virtual_apic. They have a bit each: 3 is
// none.
constexpr u32 apic_shared = proc2::APIC_REGISTER_VIRTUALIZATION | proc2::VIRTUAL_INTERRUPT_DELIVERY;
inline constexpr u32 apic_controls[] = {0, apic_shared | proc2::VIRTUALIZE_X2APIC,
                                        apic_shared | proc2::VIRTUALIZE_APIC_ACCESSES, ~0u,
                                        proc2::VIRTUALIZE_APIC_ACCESSES};
} // namespace mandatory_vmx

// CR0 bits that the guest reads from the shadow and that exit when it changes them: an entry does
// not load CD and NW, and NE is one in VMX operation (§§23.8, 26.3.2.1).
inline constexpr u64 shadowed_cr0 = ~(x86::cr0::PE | x86::cr0::MP | x86::cr0::EM | x86::cr0::TS |
                                      x86::cr0::WP | x86::cr0::AM | x86::cr0::PG);

inline bool is_canonical(u64 address) { return (address + (u64{1} << 47)) >> 48 == 0; }
// The state page's form of an event is that of interruption information but for the error code,
// which is above it (§24.8.3).
static_assert(vmx::interruption::ERROR_CODE_VALID == event::has_error_code);
using vmx::interruptibility::SHADOWS;
inline bool is_nmi(u64 e) {
    return (e & event::valid) != 0 && (e >> event::type_shift & 7) == event::nmi;
}

// The guest's task priority, 0..15. It is in memory of its VMM.
inline u32& task_priority(const Vcpu& vcpu) { return state_pages[vcpu.state].apic[0x80 / 4]; }

// Makes a virtual CPU's VMCS the current one of this core. The one before it is cleared, so that a
// core holds at most one.
void select_vmcs(u32 core, Frame control);
void release_vmcs(u32 core); // the core holds none afterwards
inline void drop_apic_page(Vcpu& vcpu) {
    if (vcpu.vmx.apic_page != 0)
        dereference(vcpu.vmx.apic_page);
    vcpu.vmx.apic_page = 0;
}

// Groups of the state page, from and to the current VMCS.
void read_control(VcpuState& s);
void read_code_and_stack(VcpuState& s); // of the segments: what every exit stores
void read_groups(VcpuState& s, const Vcpu& vcpu, u32 groups);
void put_groups(Vcpu& vcpu, const VcpuState& s, u32 groups);

// §26.2.1.3, §26.3.1.5: the first rule that the event which the VMM wants injected breaks.
vmx::RuleId check_event(const VcpuState& s, u64 cr0);
// The first rule of a VM entry that this state breaks (all groups of it filled in).
vmx::RuleId check_entry(const VcpuState& s);
// The same of the current VMCS: why the processor refused it, NONE if the guard does not know.
vmx::RuleId diagnose_entry(const Vcpu& vcpu);

// Tells the VMM of an exit, whose field `detail` says more; with INSTRUCTION_ERROR of a VMfail.
ExitReason store_vmx_exit(Vcpu& vcpu, u32 reason, vmx::Field detail);

} // namespace horos::core
