// Switching VMX on, and what belongs to the machine rather than to a virtual CPU.
#include "kernel/core/shell.hpp"
#include "kernel/vmx/vmx.hpp"

#pragma clang section text = ".vmxtext"

namespace horos::core {

using namespace vmx;

VmxLimits vmx_limits;

namespace {

u64 read_msr(u32 number) {
    u32 low;
    u32 high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(number));
    return u64{high} << 32 | low;
}

void write_msr(u32 number, u64 value) {
    asm volatile("wrmsr" ::"c"(number), "a"(static_cast<u32>(value)),
                 "d"(static_cast<u32>(value >> 32)));
}

u64 read_cr4() {
    u64 value;
    asm volatile("mov %%cr4, %0" : "=r"(value));
    return value;
}
void write_cr4(u64 value) { asm volatile("mov %0, %%cr4" ::"r"(value) : "memory"); }

// The TRUE capability MSRs say more where they exist (§A.2): some of the bits that the first ones
// call fixed to one may be zero.
u64 capability(u32 plain, u32 precise) {
    return read_msr((read_msr(msr::VMX_BASIC) & basic::TRUE_CONTROLS) != 0 ? precise : plain);
}
u64 pin_capability() { return capability(msr::VMX_PINBASED_CTLS, msr::VMX_TRUE_PINBASED_CTLS); }
u64 proc_capability() { return capability(msr::VMX_PROCBASED_CTLS, msr::VMX_TRUE_PROCBASED_CTLS); }
u64 exit_capability() { return capability(msr::VMX_EXIT_CTLS, msr::VMX_TRUE_EXIT_CTLS); }
u64 entry_capability() { return capability(msr::VMX_ENTRY_CTLS, msr::VMX_TRUE_ENTRY_CTLS); }

bool lacks(u64 capability, u32 wanted) { return (wanted & ~allowed1(capability)) != 0; }

// Unlocked, it is ours to set (§23.7).
bool feature_enabled() {
    const u64 value = read_msr(msr::FEATURE_CONTROL);
    return (value & feature_control::LOCK) == 0 ||
           (value & feature_control::VMXON_OUTSIDE_SMX) != 0;
}

struct Requirement {
    u32 bit;
    const char* missing;
};
constexpr Requirement proc_requirements[] = {
    {proc::USE_TPR_SHADOW, "this processor's VMX lacks the TPR shadow"},
    {proc::USE_IO_BITMAPS, "this processor's VMX lacks I/O bitmaps"},
    {proc::USE_MSR_BITMAPS, "this processor's VMX lacks MSR bitmaps"},
    {proc::ACTIVATE_SECONDARY, "this processor's VMX lacks secondary controls (nested paging)"},
    {mandatory_vmx::proc_controls, "this processor's VMX lacks a primary control"},
};
constexpr Requirement proc_2_requirements[] = {
    {proc2::ENABLE_EPT, "this processor's VMX lacks nested paging (EPT)"},
    {proc2::ENABLE_VPID, "this processor's VMX lacks VPIDs"},
    {proc2::UNRESTRICTED_GUEST, "this processor's VMX lacks unrestricted guests"},
    {mandatory_vmx::proc_controls_2, "this processor's VMX lacks a secondary control"},
};

const char* missing_of(const Requirement* list, u32 count, u64 capability) {
    for (u32 i = 0; i < count; ++i)
        if (lacks(capability, list[i].bit))
            return list[i].missing;
    return nullptr;
}

const char* missing_ept() {
    constexpr u64 ept = ept_cap::WALK_4 | ept_cap::TYPE_WB | ept_cap::PAGE_2M;
    constexpr u64 flush = ept_cap::INVEPT | ept_cap::INVEPT_SINGLE | ept_cap::INVEPT_ALL |
                          ept_cap::INVVPID | ept_cap::INVVPID_ALL;
    const u64 have = read_msr(msr::VMX_EPT_VPID_CAP);
    if ((have & ept) != ept)
        return "this processor's EPT lacks four levels, write-back tables or 2 MiB pages";
    return (have & flush) != flush ? "this processor lacks INVEPT or INVVPID of all kinds"
                                   : nullptr;
}

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

// The MSRs that are part of a virtual CPU: in a field of the VMCS or switched.
constexpr u32 own_msrs[] = {x86::msr::FS_BASE,      x86::msr::GS_BASE,      x86::msr::SYSENTER_CS,
                            x86::msr::SYSENTER_ESP, x86::msr::SYSENTER_EIP, x86::msr::PAT};

bool is_own(u32 number) {
    for (const u32 own : own_msrs)
        if (own == number)
            return true;
    for (const u32 own : switched_msrs)
        if (own == number)
            return true;
    return false;
}

void set_bit(Frame map, u32 bit, bool value) {
    u8& byte = permission_maps[map].bytes[(bit / 8) % frame_size];
    const u8 mask = static_cast<u8>(1u << (bit % 8));
    byte = static_cast<u8>(value ? byte | mask : byte & ~mask);
}

} // namespace

const char* vmx_missing() {
    if (!feature_enabled())
        return "VMX is disabled by the firmware (IA32_FEATURE_CONTROL): switch it on in its setup";
    if (lacks(pin_capability(), pin::VIRTUAL_NMIS))
        return "this processor's VMX lacks virtual NMIs";
    if (lacks(pin_capability(), mandatory_vmx::pin_controls))
        return "this processor's VMX lacks a pin-based control";
    const u64 proc = proc_capability();
    if (const char* missing = missing_of(proc_requirements, 5, proc))
        return missing;
    if (const char* missing =
            missing_of(proc_2_requirements, 4, read_msr(msr::VMX_PROCBASED_CTLS2)))
        return missing;
    if (lacks(exit_capability(), mandatory_vmx::exit_controls))
        return "this processor's VMX lacks an exit control (64-bit host, PAT, EFER)";
    if (lacks(entry_capability(), mandatory_vmx::entry_controls))
        return "this processor's VMX lacks an entry control (PAT, EFER)";
    return missing_ept();
}

bool vmx_set_msr(Frame map, u32 number, u8 access) {
    if (!is_own(number))
        return false;
    const u32 bit = msr_bitmap_bit(number); // a set bit exits
    set_bit(map, bit, (access & 1) == 0);
    set_bit(map, bit + MSR_BITMAP_WRITE, (access & 2) == 0);
    return true;
}

void vmx_init_msr_map(Frame map) {
    for (u32 i = 0; i < msr_map_frames; ++i)
        __builtin_memset(&permission_maps[map + i], 0xff, frame_size);
    for (const u32 own : own_msrs)
        vmx_set_msr(map, own, 3);
    for (const u32 own : switched_msrs)
        vmx_set_msr(map, own, 3);
}

void vmx_init() {
    const u64 timer = pin_capability();
    const u64 misc_value = read_msr(msr::VMX_MISC);
    const u32 allowed_2 = allowed1(read_msr(msr::VMX_PROCBASED_CTLS2));
    vmx_limits.cr4 = guest_cr4_bits();
    vmx_limits.efer = x86::efer::SCE | x86::efer::LME | x86::efer::LMA | x86::efer::NXE;
    vmx_limits.physical_mask = (u64{1} << machine.physical_bits) - 1;
    vmx_limits.cr0_fixed = read_msr(msr::VMX_CR0_FIXED0) & ~(x86::cr0::PE | x86::cr0::PG);
    vmx_limits.controls = {
        controls(timer, mandatory_vmx::pin_controls | (allowed1(timer) & pin::PREEMPTION_TIMER)),
        controls(proc_capability(), mandatory_vmx::proc_controls | proc::MOV_DR_EXITING),
        mandatory_vmx::proc_controls_2 | (allowed_2 & mandatory_vmx::optional_proc_2),
        controls(exit_capability(), mandatory_vmx::exit_controls),
        controls(entry_capability(), mandatory_vmx::entry_controls)};
    vmx_limits.revision = static_cast<u32>(read_msr(msr::VMX_BASIC) & basic::REVISION);
    vmx_limits.timer_shift = static_cast<u8>(misc_value & misc::TIMER_RATE);
    vmx_limits.any_length = (misc_value & misc::INJECT_LENGTH_0) != 0;
    machine.guest_format = TableFormat::ept;
    machine.tlb_tags = 0x1'0000; // VPIDs have 16 bits
    machine.has_next_rip = 1;
    for (u32 i = 0; i < io_map_frames; ++i)
        __builtin_memset(&permission_maps[machine.io_map + i], 0xff, frame_size);
    vmx_init_msr_map(machine.msr_map);
}

void vmx_enable_cpu(u32 core) {
    const u64 feature = read_msr(msr::FEATURE_CONTROL);
    if ((feature & feature_control::LOCK) == 0)
        write_msr(msr::FEATURE_CONTROL,
                  feature | feature_control::LOCK | feature_control::VMXON_OUTSIDE_SMX);
    write_cr4(read_cr4() | read_msr(msr::VMX_CR4_FIXED0));
    vmcss[vmxon_frame(core)].revision = vmx_limits.revision;
    if (vmx_on(u64{vmxon_frame(core)} << frame_bits) != 0)
        shell_stop("VMXON failed");
    // Whoever used VMX before us may have left translations.
    if (vmx_invept(static_cast<u64>(InveptType::ALL), 0) != 0 ||
        vmx_invvpid(static_cast<u64>(InvvpidType::ALL), 0) != 0)
        shell_stop("INVEPT or INVVPID failed");
    for (u32 i = 0; i < switched_count; ++i)
        msr_lists[host_msrs_frame(core)].entries[i] = {switched_msrs[i], 0,
                                                       read_msr(switched_msrs[i])};
}

void vmx_disable_cpu() {
    if ((read_cr4() & x86::cr4::VMXE) != 0 && vmx_off() == 0)
        write_cr4(read_cr4() & ~x86::cr4::VMXE);
}

void vmx_access_failed() { shell_stop("VMREAD or VMWRITE failed"); }

} // namespace horos::core
