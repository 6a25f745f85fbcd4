// What the model is told: the machine at the moment before it executes VMRUN.
//
// All of it is what a harness can set up or read: the VMCB in memory, the registers that VMRUN
// does not load from it, the host's own mode, events that are pending, and system-physical
// memory (guest code, page tables, IDT, the MSR and I/O maps) through `Memory`.
//
// The model never writes to the caller's memory: it keeps what the guest wrote in an overlay and
// returns it in Outcome::writes.
#pragma once

#include "horos/defs/svm.hpp"
#include "horos/defs/svm_rules.hpp"
#include "horos/defs/x86.hpp"
#include "horos/model/svm/deviation.hpp"
#include "horos/model/svm/profile.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace horos::model::svm {

using horos::svm::ExitCode;
using horos::svm::RuleId;
using horos::svm::Segment;
using horos::svm::Vmcb;

// System-physical memory as it is before VMRUN.
class Memory {
public:
    virtual ~Memory() = default;
    // Fills `to` from `address`. False if any of it is not memory that the caller knows: the
    // prediction then ends as UNSPECIFIED and says which address was wanted.
    virtual bool read(uint64_t address, std::span<uint8_t> to) const = 0;
};

// One flat piece of memory. Addresses outside it are unknown.
class FlatMemory final : public Memory {
public:
    FlatMemory(uint64_t base, std::span<const uint8_t> bytes) : base_(base), bytes_(bytes) {}
    bool read(uint64_t address, std::span<uint8_t> to) const override;

private:
    uint64_t base_;
    std::span<const uint8_t> bytes_;
};

// Several pieces, searched in order; an access must lie within one of them.
class PiecewiseMemory final : public Memory {
public:
    void add(uint64_t base, std::span<const uint8_t> bytes) { pieces_.push_back({base, bytes}); }
    bool read(uint64_t address, std::span<uint8_t> to) const override;

private:
    struct Piece {
        uint64_t base;
        std::span<const uint8_t> bytes;
    };
    std::vector<Piece> pieces_;
};

// General registers by their encoding. RAX and RSP of the guest come from the VMCB.
enum class Gpr : uint8_t {
    RAX,
    RCX,
    RDX,
    RBX,
    RSP,
    RBP,
    RSI,
    RDI,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15
};

// The host at VMRUN (APM vol. 2 rev. 3.42 §15.5.1, §15.30).
struct HostState {
    uint64_t cr0 = x86::cr0::PE | x86::cr0::PG | x86::cr0::ET | x86::cr0::NE | x86::cr0::WP;
    uint64_t cr4 = x86::cr4::PAE;
    uint64_t efer = x86::efer::LME | x86::efer::LMA | x86::efer::SVME | x86::efer::NXE;
    uint64_t rflags = x86::rflags::ONE;
    uint64_t rax = 0; // physical address of the VMCB; only 31:0 count with 32-bit addresses
    uint64_t vm_hsave_pa = 0x1000;
    uint64_t vm_cr = 0;
    uint64_t hwcr = 0;   // bit 0: SMMLOCK
    uint64_t syscfg = 0; // bit 23: MemEncryptionModEn
    uint64_t pat = x86::PAT_RESET;
    uint64_t u_cet = 0; // not swapped by VMRUN
    uint8_t cpl = 0;
    bool address_size_64 = true; // effective address size of the VMRUN instruction
};

// Guest state that VMRUN does not load: it is whatever the processor holds. FS to sysenter_eip
// are what VMLOAD loads; vmload() fills them from a VMCB.
struct GuestContext {
    std::array<uint64_t, 16> gpr{}; // by Gpr; RAX and RSP are not used
    std::array<uint64_t, 4> dr{};   // DR0..DR3
    Segment fs{};
    Segment gs{};
    Segment ldtr{};
    Segment tr{};
    uint64_t kernel_gs_base = 0;
    uint64_t star = 0;
    uint64_t lstar = 0;
    uint64_t cstar = 0;
    uint64_t sfmask = 0;
    uint64_t sysenter_cs = 0;
    uint64_t sysenter_esp = 0;
    uint64_t sysenter_eip = 0;
    uint64_t tsc_aux = 0;
    uint64_t xcr0 = x86::xcr0::X87;
    uint32_t pkru = 0;
    bool x87_pending = false; // an unmasked x87 exception waits for the next instruction

    void vmload(const Vmcb& from);
};

// Physical events that are pending when VMRUN executes (the host has GIF clear, §15.17).
struct PendingEvents {
    bool smi = false;
    bool init = false;
    bool nmi = false;
    std::optional<uint8_t> intr; // vector that the local APIC would deliver
    bool intr_above_tpr = true;  // whether the physical APIC's priority lets it through
};

// A translation of a 4 KiB page that the TLB may hold (§15.16): linear to system-physical, or, in a
// guest without paging, guest-physical to system-physical. What it permits is what the tables
// permitted when it was loaded, both levels together.
struct TlbEntry {
    uint32_t asid = 0;
    uint64_t linear = 0;  // of the page
    uint64_t address = 0; // system-physical, of the page
    bool writable = true;
    bool user = false;
    bool executable = true;
    bool dirty = true; // the dirty bit is set in memory: a write does not walk
    bool global = false;
};

struct Machine {
    const Profile* profile = nullptr; // required
    const Vmcb* vmcb = nullptr;       // required: the block as it is in memory before VMRUN
    const Memory* memory = nullptr;   // required: system-physical memory
    HostState host;
    GuestContext guest;
    PendingEvents pending;
    // The TLB holds nothing of the guest that the tables in memory would not give (fresh ASID, or
    // flushed). If not, `tlb` says all that it may hold of this and other guests, and each access
    // may use that or the tables; where the caller does not know it (null), the result of a guest
    // with translation is UNSPECIFIED, unless TLB_CONTROL flushes.
    bool tlb_is_fresh = true;
    const std::vector<TlbEntry>* tlb = nullptr;
    // The processor holds no copy of VMCB fields that differs from memory. If not, `vmcb_cached`
    // is the block as the processor last loaded or stored it: what a clean bit covers may come from
    // there or from memory (§15.15); where the caller does not know it (null), a VMRUN with clean
    // bits is UNSPECIFIED.
    bool vmcb_cache_is_fresh = true;
    const Vmcb* vmcb_cached = nullptr;
    // Set by predict() where it follows a mixture of the two: then `vmcb` is what is loaded, and
    // this is what #VMEXIT writes over.
    const Vmcb* vmcb_in_memory = nullptr;
    // How many guest instructions the model follows before it gives up (RUNS_ON).
    unsigned max_instructions = 64;
    // Wrong behaviours to predict with; none: what the manual says.
    Deviations deviations;
};

} // namespace horos::model::svm
