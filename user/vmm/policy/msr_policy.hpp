// What the guest may do with each model-specific register. The rules are a table; registers with
// behaviour of their own name a handler in it. A register without a rule faults, as on hardware.
#pragma once

#include <span>

#include "base.hpp"
#include "horos/abi/system.hpp"

namespace horos::vmm {

enum class MsrKind : u8 {
    fault,     // #GP
    fixed,     // reads give the value, writes are ignored
    read_only, // reads give the value, writes fault
    stored,    // reads give what was written last; the value is its first content
    tsc,
    tsc_adjust,
    tsc_deadline,
    apic_base,
    x2apic,
    efer,
    kvm_wall_clock,
    kvm_system_time,
    kvm_eoi,
};

struct MsrRule {
    u32 first;
    u32 last;
    MsrKind kind;
    u64 value;   // fixed value, or first content
    u64 allowed; // stored: bits that may be set; others fault
};

// The built-in rules, ascending.
std::span<const MsrRule> msr_rules();

namespace msr {
inline constexpr u32 tsc = 0x10, apic_base = 0x1b, tsc_adjust = 0x3b, mtrr_cap = 0xfe,
                     mtrr_default_type = 0x2ff, tsc_deadline = 0x6e0, x2apic_first = 0x800,
                     x2apic_last = 0x8ff, x2apic_eoi = 0x80b, x2apic_icr = 0x830,
                     efer = 0xc000'0080, kvm_wall_clock = 0x4b56'4d00,
                     kvm_system_time = 0x4b56'4d01, kvm_eoi = 0x4b56'4d04;
} // namespace msr

class MsrPolicy {
public:
    // Rules of the system description come before the built-in ones.
    void set_rules(std::span<const abi::MsrRule> rules) { rules_ = rules; }
    MsrRule find(u32 number) const;
    // Position of a stored register in its virtual CPU's storage.
    static int storage_index(u32 number);
    static constexpr u32 storage_count = 16;

private:
    std::span<const abi::MsrRule> rules_{};
};

} // namespace horos::vmm
