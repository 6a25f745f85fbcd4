#include "policy/cpuid_policy.hpp"

#include "policy/cpuid_bits.hpp"

namespace horos::vmm {
namespace {

using namespace cpuid;

constexpr u32 all = ~u32{0};
constexpr u32 no_subleaf = abi::any_subleaf;
constexpr u32 max_basic_leaf = 0x0d, max_extended_leaf = 0x8000'0008;

// Not shown: MONITOR/MWAIT, VMX, SVM, PMU, MCE/MCA, speculation controls (their MSRs are not
// virtualised), RDTSCP/RDPID (TSC_AUX), PKU, LA57 (deeper tables bring a partition nothing).
constexpr u32 leaf1_ecx = sse3 | pclmulqdq | ssse3 | fma | cmpxchg16b | pcid | sse41 | sse42 |
                          movbe | popcnt | aes | xsave | avx | f16c | rdrand;
constexpr u32 basic_edx = fpu | vme | de | pse | tsc | msr | pae | cx8 | apic | mtrr | pge | cmov |
                          pat | pse36 | mmx | fxsr;
constexpr u32 leaf1_edx = basic_edx | sep | clflush | sse | sse2;
constexpr u32 leaf7_ebx = fsgsbase | bmi1 | avx2 | smep | bmi2 | erms | invpcid | rdseed | adx |
                          smap | clflushopt | clwb | sha;
constexpr u32 leaf7_ecx = umip | gfni | vaes | vpclmulqdq;
constexpr u32 avx512_ebx = avx512f | avx512dq | avx512ifma | avx512cd | avx512bw | avx512vl;
constexpr u32 avx512_ecx = avx512vbmi | avx512vbmi2 | avx512vnni | avx512bitalg | avx512vpopcntdq;
constexpr u32 ext1_ecx =
    lahf64 | cr8_legacy | abm | sse4a | misaligned_sse | prefetchw | xop | fma4 | tbm;
constexpr u32 ext1_edx = basic_edx | syscall | nx | mmx_ext | fxsr_opt | page_1g | long_mode;
constexpr u32 kvm_features = kvm_nop_io_delay | kvm_clocksource2 | kvm_pv_eoi | kvm_clock_stable;

constexpr CpuidValue nothing{};
constexpr CpuidValue everything{all, all, all, all};

constexpr CpuidMask masks[] = {
    {0x00, no_subleaf, {0, all, all, all}, {max_basic_leaf, 0, 0, 0}},
    {0x01,
     no_subleaf,
     {0x0fff'3fff, 0x0000'ff00, leaf1_ecx, leaf1_edx},
     {0, 0, x2apic | tsc_deadline | hypervisor, 0}},
    {0x02, no_subleaf, everything, nothing},
    {0x04, 0, {0x0000'3fff, all, all, all}, nothing}, // cores and sharing: add_topology()
    {0x04, 1, {0x0000'3fff, all, all, all}, nothing},
    {0x04, 2, {0x0000'3fff, all, all, all}, nothing},
    {0x04, 3, {0x0000'3fff, all, all, all}, nothing},
    // The timer of the virtual APIC runs in every idle state, as there are none.
    {0x06, no_subleaf, nothing, {arat, 0, 0, 0}},
    {0x07, 0, {0, leaf7_ebx | avx512_ebx, leaf7_ecx | avx512_ecx, fsrm}, {0, tsc_adjust, 0, 0}},
    {hypervisor_base,
     no_subleaf,
     nothing,
     {hypervisor_base + 1, 0x4b4d564b, 0x564b4d56, 0x0000004d}}, // "KVMKVMKVM"
    {hypervisor_base + 1, no_subleaf, nothing, {kvm_features, 0, 0, 0}},
    {0x8000'0000, no_subleaf, {0, all, all, all}, {max_extended_leaf, 0, 0, 0}},
    {0x8000'0001, no_subleaf, {0x0fff'3fff, 0xf000'ffff, ext1_ecx, ext1_edx}, nothing},
    {0x8000'0002, no_subleaf, everything, nothing},
    {0x8000'0003, no_subleaf, everything, nothing},
    {0x8000'0004, no_subleaf, everything, nothing},
    {0x8000'0005, no_subleaf, everything, nothing},
    {0x8000'0006, no_subleaf, everything, nothing},
    // The VMM counts guest time in TSC ticks and relies on their constant rate itself.
    {0x8000'0007, no_subleaf, nothing, {0, 0, 0, invariant_tsc}},
    {0x8000'0008,
     no_subleaf,
     {0x0000'00ff, clzero | xsave_error_pointer, 0, 0},
     {48 << 8, 0, 0, 0}},
};

constexpr u32 log2_ceil(u32 value) {
    u32 shift = 0;
    while ((1u << shift) < value)
        ++shift;
    return shift;
}

constexpr CpuidValue combine(const CpuidValue& host, const CpuidValue& keep,
                             const CpuidValue& set) {
    return {(host.eax & keep.eax) | set.eax, (host.ebx & keep.ebx) | set.ebx,
            (host.ecx & keep.ecx) | set.ecx, (host.edx & keep.edx) | set.edx};
}

// Leaves to which answer() adds something of the virtual CPU that asks.
constexpr bool depends_on_caller(u32 leaf) { return leaf == 0x01 || leaf == 0x0b || leaf == 0x0d; }

constexpr u64 xcr0_avx = 4, xcr0_avx512 = 0xe0;
constexpr u64 xcr0_known = 3 | xcr0_avx | xcr0_avx512;

} // namespace

std::span<const CpuidMask> cpuid_masks() { return masks; }

void CpuidPolicy::add(u32 leaf, u32 subleaf, const CpuidValue& value) {
    if (count_ == max_entries)
        return;
    u8* first = leaf < max_basic                              ? &basic_[leaf]
                : leaf - 0x8000'0000u < max_extended          ? &extended_[leaf - 0x8000'0000u]
                : leaf - hypervisor_base < hypervisor_.size() ? &hypervisor_[leaf - hypervisor_base]
                                                              : nullptr;
    if (first == nullptr)
        return;
    if (*first == no_entry)
        *first = static_cast<u8>(count_);
    entries_[count_++] = {leaf, subleaf, value};
}

void CpuidPolicy::build(const CpuidInputs& inputs) {
    count_ = 0;
    basic_.fill(no_entry);
    extended_.fill(no_entry);
    hypervisor_.fill(no_entry);
    guest_xcr0_ = inputs.xcr0 & xcr0_known;
    if ((guest_xcr0_ & 3) != 3)
        guest_xcr0_ = 1;
    for (const CpuidMask& mask : masks) {
        const u32 subleaf = mask.subleaf == no_subleaf ? 0 : mask.subleaf;
        CpuidValue value = combine(inputs.host(mask.leaf, subleaf), mask.keep, mask.set);
        if (mask.leaf == 1) {
            value.ebx |= inputs.vcpus << 16;
            if (inputs.vcpus > 1)
                value.edx |= htt;
            if (!(guest_xcr0_ & xcr0_avx))
                value.ecx &= ~(avx | fma | f16c);
        }
        if (mask.leaf == 4 && (value.eax & 0x1f) == 0)
            continue; // no such cache
        if (mask.leaf == 4)
            value.eax |= (inputs.vcpus - 1) << 26;
        if (mask.leaf == 7 && (guest_xcr0_ & xcr0_avx512) != xcr0_avx512) {
            value.ebx &= ~avx512_ebx;
            value.ecx &= ~avx512_ecx;
        }
        if (mask.leaf == 7 && !(guest_xcr0_ & xcr0_avx)) {
            value.ebx &= ~avx2;
            value.ecx &= ~(vaes | vpclmulqdq);
        }
        if (mask.leaf == 0x8000'0001 && inputs.vcpus > 1)
            value.ecx |= cmp_legacy;
        if (mask.leaf == 0x8000'0008)
            value.ecx |= (inputs.vcpus - 1) | log2_ceil(inputs.vcpus) << 12;
        add(mask.leaf, mask.subleaf, value);
    }
    add_topology(inputs.vcpus);
    add_xsave(inputs);
    apply(inputs.rules);
    collect_plain();
}

void CpuidPolicy::collect_plain() {
    plain_leaves_ = 0;
    for (u32 leaf = 0; leaf < max_basic; ++leaf) {
        if (depends_on_caller(leaf) || basic_[leaf] == no_entry ||
            entries_[basic_[leaf]].subleaf != no_subleaf)
            continue;
        plain_[leaf] = entries_[basic_[leaf]].value;
        plain_leaves_ |= bit32(leaf);
    }
}

// Leaf 0Bh: one thread per core, all cores in one package.
void CpuidPolicy::add_topology(u32 vcpus) {
    add(0x0b, 0, {0, 1, 0x100, 0});
    add(0x0b, 1, {log2_ceil(vcpus), vcpus, 0x201, 0});
}

void CpuidPolicy::add_xsave(const CpuidInputs& inputs) {
    const u32 root = count_;
    add(0x0d, 0, {static_cast<u32>(guest_xcr0_), 0, 0, 0});
    add(0x0d, 1, {inputs.host(0x0d, 1).eax & (xsaveopt | xsavec | xgetbv1), 0, 0, 0});
    for (u32 component = 2; component < 8; ++component)
        if (guest_xcr0_ & bit(component)) {
            const CpuidValue value = inputs.host(0x0d, component);
            add(0x0d, component, {value.eax, value.ebx, 0, 0});
        }
    if (root < count_)
        entries_[root].value.ecx = xsave_bytes(guest_xcr0_);
}

// The area of the standard format for these components.
u32 CpuidPolicy::xsave_bytes(u64 xcr0) const {
    u32 bytes = 512 + 64;
    for (u32 i = 0; i < count_; ++i) {
        const Entry& entry = entries_[i];
        if (entry.leaf != 0x0d || entry.subleaf < 2 || !(xcr0 & bit(entry.subleaf)))
            continue;
        const u32 end = entry.value.ebx + entry.value.eax;
        bytes = end > bytes ? end : bytes;
    }
    return bytes;
}

void CpuidPolicy::apply(std::span<const abi::CpuidRule> rules) {
    for (const abi::CpuidRule& rule : rules) {
        bool found = false;
        const CpuidValue keep{rule.keep[0], rule.keep[1], rule.keep[2], rule.keep[3]};
        const CpuidValue set{rule.set[0], rule.set[1], rule.set[2], rule.set[3]};
        for (u32 i = 0; i < count_; ++i) {
            Entry& entry = entries_[i];
            const bool same = rule.subleaf == abi::any_subleaf ||
                              entry.subleaf == abi::any_subleaf || entry.subleaf == rule.subleaf;
            if (entry.leaf != rule.leaf || !same)
                continue;
            entry.value = combine(entry.value, keep, set);
            found = true;
        }
        if (!found)
            add(rule.leaf, rule.subleaf, set);
    }
}

const CpuidPolicy::Entry* CpuidPolicy::find(u32 leaf, u32 subleaf) const {
    u8 index = no_entry;
    if (leaf < max_basic)
        index = basic_[leaf];
    else if (leaf - 0x8000'0000u < max_extended)
        index = extended_[leaf - 0x8000'0000u];
    else if (leaf - hypervisor_base < hypervisor_.size())
        index = hypervisor_[leaf - hypervisor_base];
    for (u32 i = index; i < count_ && entries_[i].leaf == leaf; ++i)
        if (entries_[i].subleaf == subleaf || entries_[i].subleaf == abi::any_subleaf)
            return &entries_[i];
    return nullptr;
}

CpuidValue CpuidPolicy::answer(u32 leaf, u32 subleaf, const CpuidCaller& caller) const {
    const Entry* entry = find(leaf, subleaf);
    CpuidValue value = entry != nullptr ? entry->value : CpuidValue{};
    switch (leaf) {
    case 0x01:
        value.ebx |= caller.apic_id << 24;
        if (caller.osxsave)
            value.ecx |= osxsave;
        break;
    case 0x0b:
        value.edx = caller.apic_id;
        value.ecx |= subleaf & 0xff;
        break;
    case 0x0d:
        if (subleaf == 0)
            value.ebx = xsave_bytes(caller.xcr0);
        break;
    default:
        break;
    }
    return value;
}

bool CpuidPolicy::has_nx() const {
    const Entry* entry = find(0x8000'0001, 0);
    return entry != nullptr && (entry->value.edx & nx) != 0;
}

} // namespace horos::vmm
