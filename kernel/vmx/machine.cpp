// Switching VMX on, and what belongs to the machine rather than to a virtual CPU.
#include "kernel/arch/io.hpp"
#include "kernel/vmx/vmx.hpp"

#pragma clang section text = ".vmxtext"

namespace horos::core {

using namespace vmx;
using namespace mandatory_vmx;

VmxLimits vmx_limits;

namespace {

using namespace arch;

// The TRUE capability MSRs say more where they exist (§A.2): some of the bits that the first ones
// call fixed to one may be zero.
u64 capability(u32 plain) {
    constexpr u32 distance = msr::VMX_TRUE_PINBASED_CTLS - msr::VMX_PINBASED_CTLS;
    const bool precise = (read_msr(msr::VMX_BASIC) & basic::TRUE_CONTROLS) != 0;
    return read_msr(precise ? plain + distance : plain);
}

// What Horos needs of a processor: bits of a capability MSR. Those of controls are in the upper
// half, where a one says that the control may be one (§A.3).
struct Requirement {
    u32 msr;
    u64 bits;
    const char* missing;
};
constexpr u64 allowed(u32 controls) { return u64{controls} << 32; }
constexpr u64 ept_tables = ept_cap::WALK_4 | ept_cap::TYPE_WB | ept_cap::PAGE_2M;
constexpr u64 ept_flushes = ept_cap::INVEPT | ept_cap::INVEPT_SINGLE | ept_cap::INVEPT_ALL |
                            ept_cap::INVVPID | ept_cap::INVVPID_ALL;

constexpr Requirement requirements[] = {
    {msr::VMX_PINBASED_CTLS, allowed(pin_controls), "VMX without virtual NMIs"},
    {msr::VMX_PROCBASED_CTLS, allowed(proc_controls),
     "VMX lacks a primary control (bitmaps, TPR shadow, secondary controls)"},
    {msr::VMX_PROCBASED_CTLS2, allowed(proc2::ENABLE_EPT), "VMX without nested paging (EPT)"},
    {msr::VMX_PROCBASED_CTLS2, allowed(proc2::UNRESTRICTED_GUEST), "VMX without real-mode guests"},
    {msr::VMX_PROCBASED_CTLS2, allowed(proc_controls_2), "VMX lacks a secondary control (VPIDs)"},
    {msr::VMX_EXIT_CTLS, allowed(exit_controls), "VMX lacks an exit control (PAT, EFER)"},
    {msr::VMX_ENTRY_CTLS, allowed(entry_controls), "VMX lacks an entry control (PAT, EFER)"},
    {msr::VMX_EPT_VPID_CAP, ept_tables, "EPT lacks four levels, write-back or 2 MiB pages"},
    {msr::VMX_EPT_VPID_CAP, ept_flushes, "VMX lacks a kind of INVEPT or INVVPID"},
};

// What the processor demands is added to what we want: the default settings of reserved controls.
u32 controls(u64 capability, u32 wanted) { return wanted | allowed0(capability); }

// CR4 bits that a guest may set: allowed in VMX operation, and known here.
u64 guest_cr4_bits() {
    namespace cr4 = x86::cr4;
    constexpr u64 known = cr4::VME | cr4::PVI | cr4::TSD | cr4::DE | cr4::PSE | cr4::PAE |
                          cr4::MCE | cr4::PGE | cr4::PCE | cr4::OSFXSR | cr4::OSXMMEXCPT |
                          cr4::UMIP | cr4::FSGSBASE | cr4::PCIDE | cr4::OSXSAVE | cr4::SMEP |
                          cr4::SMAP;
    return known & read_msr(msr::VMX_CR4_FIXED1);
}

void pass(Frame map, u32 bit, u32 access) { // a set bit exits
    set_permission(map, bit, (access & 1) == 0);
    set_permission(map, bit + MSR_BITMAP_WRITE, (access & 2) == 0);
}

} // namespace

const char* vmx_missing() {
    constexpr u64 enabled = feature_control::LOCK | feature_control::VMXON_OUTSIDE_SMX;
    if ((read_msr(msr::FEATURE_CONTROL) & enabled) == feature_control::LOCK) // unlocked, it is ours
        return "VMX is disabled by the firmware (IA32_FEATURE_CONTROL): switch it on in its setup";
    for (const Requirement& r : requirements)
        if ((read_msr(r.msr) & r.bits) != r.bits)
            return r.missing;
    return nullptr;
}

// A map has two bitmaps: the second is that of virtual CPUs with a virtual x2APIC.
bool vmx_set_msr(Frame map, u32 number, u8 access) {
    if (!is_own_msr(number))
        return false;
    pass(map, msr_bitmap_bit(number), access);
    pass(map + 1, msr_bitmap_bit(number), access);
    return true;
}

// Other reads and writes than those that the processor serves would reach the host's x2APIC.
void vmx_init_msr_map(Frame map) {
    init_msr_map<vmx_set_msr>(map);
    using namespace virtual_x2apic;
    for (u32 n = 0; n < 64; ++n)
        pass(map + 1, x86::msr::X2APIC_BASE + n,
             static_cast<u32>((READ >> n & 1) | (WRITTEN >> n & 1) << 1));
}

void vmx_init() {
    const u64 pin_based = capability(msr::VMX_PINBASED_CTLS);
    const u64 misc_value = read_msr(msr::VMX_MISC);
    const u32 allowed_2 = allowed1(read_msr(msr::VMX_PROCBASED_CTLS2));
    vmx_limits.cr4 = guest_cr4_bits();
    vmx_limits.cr0_fixed = read_msr(msr::VMX_CR0_FIXED0) & ~(x86::cr0::PE | x86::cr0::PG);
    vmx_limits.controls = {
        controls(pin_based, pin_controls | (allowed1(pin_based) & pin::PREEMPTION_TIMER)),
        controls(capability(msr::VMX_PROCBASED_CTLS), proc_controls | proc::MOV_DR_EXITING),
        proc_controls_2 | (allowed_2 & proc2::ENABLE_INVPCID),
        controls(capability(msr::VMX_EXIT_CTLS), exit_controls),
        controls(capability(msr::VMX_ENTRY_CTLS), entry_controls)};
    vmx_limits.revision = static_cast<u32>(read_msr(msr::VMX_BASIC) & basic::REVISION);
    vmx_limits.timer_shift = static_cast<u8>(misc_value & misc::TIMER_RATE);
    for (u32 way = virtual_apic::x2apic; way <= virtual_apic::task_priority; ++way)
        if ((apic_controls[way] & ~allowed_2) == 0)
            vmx_limits.virtual_apics |= static_cast<u16>(way);
    vmx_limits.any_length = (misc_value & misc::INJECT_LENGTH_0) != 0;
    machine.guest_format = TableFormat::ept;
    machine.tlb_tags = 0x1'0000; // VPIDs have 16 bits
    machine.has_next_rip = 1;
    vmx_init_msr_map(machine.msr_map);
}

void vmx_enable_cpu(u32 core) {
    const u64 feature = read_msr(msr::FEATURE_CONTROL);
    if ((feature & feature_control::LOCK) == 0)
        write_msr(msr::FEATURE_CONTROL,
                  feature | feature_control::LOCK | feature_control::VMXON_OUTSIDE_SMX);
    write_cr4(read_cr4() | read_msr(msr::VMX_CR4_FIXED0));
    vmcss[vmxon_frame(core)].revision = vmx_limits.revision;
    must_succeed(vmx_on(u64{vmxon_frame(core)} << frame_bits), "VMXON failed");
    // Whoever used VMX before us may have left translations.
    must_succeed(vmx_invept(static_cast<u64>(InveptType::ALL), 0), "INVEPT failed");
    must_succeed(vmx_invvpid(static_cast<u64>(InvvpidType::ALL), 0), "INVVPID failed");
    for (u32 i = 0; i < switched_count; ++i)
        msr_lists[host_msrs_frame(core)].entries[i] = {switched_msrs[i].number, 0,
                                                       read_msr(switched_msrs[i].number)};
}

void vmx_disable_cpu() {
    if ((read_cr4() & x86::cr4::VMXE) != 0 && vmx_off() == 0)
        write_cr4(read_cr4() & ~x86::cr4::VMXE);
}

void must_succeed(u32 error, const char* what) {
    if (error == 0)
        return;
    char line[] = "horos: VM-instruction error 00\n";
    line[sizeof line - 4] = static_cast<char>('0' + error / 10 % 10);
    line[sizeof line - 3] = static_cast<char>('0' + error % 10);
    shell_log(line, sizeof line - 1);
    shell_stop(what);
}

void vmx_access_failed(u32 error) { must_succeed(error, "VMREAD or VMWRITE failed"); }

} // namespace horos::core
