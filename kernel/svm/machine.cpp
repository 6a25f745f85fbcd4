// Switching SVM on, and what belongs to the machine rather than to a virtual CPU.
#include "kernel/arch/cpu.hpp"
#include "kernel/core/shell.hpp"
#include "kernel/svm/svm.hpp"

namespace horos::core {

SvmLimits svm_limits;

namespace {

struct Leaf {
    u32 eax, ebx, ecx, edx;
};

Leaf cpuid(u32 leaf) {
    Leaf r;
    asm volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(0));
    return r;
}

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

// CR4 bits that exist (§3.1.3), by the CPUID bit that announces each.
u64 supported_cr4() {
    namespace id = x86::cpuid;
    namespace cr4 = x86::cr4;
    const Leaf one = cpuid(id::LEAF_FEATURES);
    const bool has7 = cpuid(id::LEAF_BASIC).eax >= id::LEAF_STRUCTURED;
    const Leaf seven = has7 ? cpuid(id::LEAF_STRUCTURED) : Leaf{};
    const auto if_set = [](u32 word, u32 mask, u64 bits) { return (word & mask) != 0 ? bits : 0; };
    return cr4::PCE | cr4::OSFXSR | cr4::OSXMMEXCPT | cr4::TSD | cr4::PAE |
           if_set(one.edx, id::L1_EDX_VME, cr4::VME | cr4::PVI) |
           if_set(one.edx, id::L1_EDX_DE, cr4::DE) | if_set(one.edx, id::L1_EDX_PSE, cr4::PSE) |
           if_set(one.edx, id::L1_EDX_MCE, cr4::MCE) | if_set(one.edx, id::L1_EDX_PGE, cr4::PGE) |
           if_set(one.ecx, id::L1_ECX_PCID, cr4::PCIDE) |
           if_set(one.ecx, id::L1_ECX_XSAVE, cr4::OSXSAVE) |
           if_set(seven.ebx, id::L7_EBX_FSGSBASE, cr4::FSGSBASE) |
           if_set(seven.ebx, id::L7_EBX_SMEP, cr4::SMEP) |
           if_set(seven.ebx, id::L7_EBX_SMAP, cr4::SMAP) |
           if_set(seven.ecx, id::L7_ECX_UMIP, cr4::UMIP);
}

} // namespace

bool svm_set_msr(Frame first, u32 msr, u8 access) {
    if (!is_own_msr(msr))
        return false;
    const u32 bit = svm::msrpm_bit(msr); // read, then write; a set bit exits
    u8& byte = permission_maps[first + bit / (8 * frame_size)].bytes[(bit / 8) % frame_size];
    const u8 both = static_cast<u8>(3u << (bit % 8));
    const u8 exits = static_cast<u8>((~access & 3u) << (bit % 8));
    byte = static_cast<u8>((byte & ~both) | exits);
    return true;
}

void svm_init_msr_map(Frame first) { init_msr_map<svm_set_msr>(first); }

bool svm_end_vcpu(Frame) { return true; } // the processor writes a VMCB back at each exit

const char* svm_missing() {
    namespace id = x86::cpuid;
    if (cpuid(id::LEAF_EXT_MAX).eax < id::LEAF_SVM)
        return "this processor lacks nested paging (SVM leaf 0x8000000a)";
    const Leaf leaf = cpuid(id::LEAF_SVM);
    if ((leaf.edx & id::SVM_EDX_NP) == 0)
        return "this processor lacks nested paging";
    if (leaf.ebx < 2)
        return "this processor has no address space identifiers for guests";
    if ((read_msr(x86::msr::VM_CR) & x86::vm_cr::SVMDIS) != 0)
        return "SVM is disabled by the firmware (VM_CR.SVMDIS): switch it on in its setup";
    return nullptr;
}

void svm_init() {
    svm_limits.cr4 = supported_cr4();
    svm_limits.efer = guest_efer;
    svm_limits.physical_mask = (u64{1} << machine.physical_bits) - 1;
    const Leaf svm_leaf = cpuid(x86::cpuid::LEAF_SVM);
    machine.tlb_tags = svm_leaf.ebx;
    machine.has_next_rip = (svm_leaf.edx & x86::cpuid::SVM_EDX_NRIPS) != 0;
    machine.has_decode_assist = (svm_leaf.edx & x86::cpuid::SVM_EDX_DECODE_ASSISTS) != 0;
    constexpr u32 hypervisor_leaf = 0x4000'0000;
    constexpr u32 tcgt = 0x54474354; // "TCGT" of "TCGTCGTCGTCG"
    const bool emulated =
        (cpuid(x86::cpuid::LEAF_FEATURES).ecx & x86::cpuid::L1_ECX_HYPERVISOR) != 0;
    machine.loses_paging = emulated && cpuid(hypervisor_leaf).ebx == tcgt;
    svm_init_msr_map(machine.msr_map);
}

void svm_enable_cpu(u32 core) {
    write_msr(x86::msr::EFER, read_msr(x86::msr::EFER) | x86::efer::SVME);
    write_msr(x86::msr::VM_HSAVE_PA, u64{host_save_frame(core)} << frame_bits);
    const Frame state = host_state_frame(core);
    asm volatile("vmsave %%rax" ::"a"(u64{state} << frame_bits) : "memory");
    arch::PerCpu& cpu = arch::this_cpu(); // for run.S
    cpu.host_state = u64{state} << frame_bits;
    cpu.host_state_area = reinterpret_cast<u64>(&vmcbs[state]);
    static_assert(offsetof(svm::Vmcb, save.fs.base) == VMCB_FS_BASE);
}

} // namespace horos::core
