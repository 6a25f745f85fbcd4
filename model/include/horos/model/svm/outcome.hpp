// What the model says of a machine: the set of outcomes that the architecture allows.
//
// A Prediction has one or more Outcomes ("alternatives"); a real result is right if it matches
// any of them. Within one outcome each value comes with a mask of the bits that the manual
// defines; the other bits are free. So
//     allowed set  =  union over alternatives  of  { x : (x ^ value) & known == 0 }.
#pragma once

#include "horos/defs/svm_rules.hpp"
#include "horos/model/svm/machine.hpp"

#include <bitset>
#include <cstring>
#include <memory>
#include <string>

namespace horos::model::svm {

enum class OutcomeKind : uint8_t {
    FAULT,       // VMRUN itself faults in the host: `fault`
    INVALID,     // #VMEXIT(INVALID): a consistency check failed; which are in Prediction::broken
    EXIT,        // the guest ran and left by `exit_code`
    HALTED,      // the guest waits (HLT, MWAIT) and nothing pending ends that
    SHUTDOWN,    // the guest shut the processor down (not intercepted)
    RUNS_ON,     // no exit within Machine::max_instructions
    UNSPECIFIED, // the manual does not say, or the model does not cover it: `why`
};

// A value of which only the bits in `known` are defined.
struct Masked {
    uint64_t value = 0;
    uint64_t known = ~0ull;
    bool allows(uint64_t observed) const { return ((observed ^ value) & known) == 0; }
};

struct HostFault {
    x86::Vector vector = x86::Vector::UD;
    bool has_error_code = false;
    uint32_t error_code = 0;
};

// Bytes that the guest, or the processor on its behalf (A/D bits, IDT delivery), changed.
struct MemoryWrite {
    uint64_t address = 0; // system-physical
    uint8_t value = 0;
    uint8_t known = 0xff;
};

// The guest read the time stamp counter: the two registers hold (host TSC at that moment, scaled)
// + TSC_OFFSET, so a harness that brackets VMRUN with RDTSC can bound them.
struct TscRead {
    uint64_t offset = 0;
};

// As many bytes as a VMCB has, zero unless written; moving them costs nothing.
class VmcbBytes {
public:
    VmcbBytes() = default;
    VmcbBytes(VmcbBytes&&) noexcept = default;
    VmcbBytes& operator=(VmcbBytes&&) noexcept = default;
    VmcbBytes(const VmcbBytes& other) { *this = other; }
    VmcbBytes& operator=(const VmcbBytes& other) {
        if (other.bytes_ == nullptr) {
            bytes_.reset();
        } else if (this != &other) {
            assign(other.data());
        }
        return *this;
    }
    ~VmcbBytes() = default;

    void assign(const void* from) { std::memcpy(fresh(), from, SIZE); }
    void fill(uint8_t value) { std::memset(fresh(), value, SIZE); }
    uint8_t* data() {
        if (bytes_ == nullptr) {
            fill(0);
        }
        return bytes_->data();
    }
    const uint8_t* data() const { return bytes_ != nullptr ? bytes_->data() : ZERO.data(); }
    uint8_t& operator[](size_t i) { return data()[i]; }
    const uint8_t& operator[](size_t i) const { return data()[i]; }
    uint8_t* begin() { return data(); }
    uint8_t* end() { return data() + SIZE; }
    bool operator==(const VmcbBytes& other) const {
        return std::memcmp(data(), other.data(), SIZE) == 0;
    }

private:
    static constexpr size_t SIZE = horos::svm::VMCB_BYTES;
    using Bytes = std::array<uint8_t, SIZE>;
    static constexpr Bytes ZERO{};

    // With any content.
    uint8_t* fresh() {
        if (bytes_ == nullptr) {
            bytes_ = std::make_unique_for_overwrite<Bytes>();
        }
        return bytes_->data();
    }
    std::unique_ptr<Bytes> bytes_;
};

// The VMCB after the exit, byte for byte, and which bits of each byte are defined.
struct SavedVmcb {
    VmcbBytes value;
    VmcbBytes known;
};

struct Outcome {
    OutcomeKind kind = OutcomeKind::UNSPECIFIED;
    std::string why; // UNSPECIFIED: what is left open; else empty
    HostFault fault; // FAULT

    // INVALID, EXIT. The exit code, EXITINFO1/2, EXITINTINFO, nRIP, V_IRQ, ... are all in here.
    ExitCode exit_code = ExitCode::INVALID;
    SavedVmcb vmcb;
    std::array<Masked, 16> gpr{}; // by Gpr; RAX and RSP are those of the host: known == 0
    std::array<Masked, 4> dr{};
    Masked tsc_aux, xcr0;
    Masked kernel_gs_base, star, lstar, cstar, sfmask, sysenter_cs, sysenter_esp, sysenter_eip;
    Segment fs{}, gs{}, ldtr{}, tr{}; // what VMSAVE would store now
    // Bit 0 to 3: the base of FS, GS, LDTR, TR is not defined (LLDT of a null selector).
    uint8_t vmsave_base_open = 0;
    std::vector<MemoryWrite> writes; // sorted by address, one entry a byte
    bool memory_known = true;        // false: other memory may have changed too
    std::vector<TscRead> tsc_reads;
    unsigned instructions = 0;    // guest instructions completed
    bool event_delivered = false; // an injected or virtual event went through the guest's IDT
};

// Rules by RuleId.
using RuleSet = std::bitset<128>;

struct Prediction {
    std::vector<Outcome> allowed; // never empty; the likeliest first
    RuleSet broken;               // rules that the machine breaks, whatever their strength
    RuleSet applicable;           // rules that this profile checks at all
    // The model's own branch coverage, for guiding a fuzzer: a small set of numbered features
    // (instruction x {intercepted, fault first, completed}, delivery paths, walk outcomes).
    std::bitset<1024> features;
    Deviations deviated; // of Machine::deviations, those that made a difference

    bool unspecified() const {
        for (const Outcome& outcome : allowed) {
            if (outcome.kind == OutcomeKind::UNSPECIFIED) {
                return true;
            }
        }
        return false;
    }
};

} // namespace horos::model::svm
