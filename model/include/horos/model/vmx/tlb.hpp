// Cached translations of guests and what invalidates them (SDM vol. 3C 325384-077US §28.4). A
// processor may keep a mapping, or may have lost it at any time: run_guest() predicts both.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace horos::model::vmx {

struct GuestInput;

// §28.4.1. A linear mapping is made without EPT; with it, a guest-physical mapping (of what EPT
// alone says) and a combined mapping (of both tables).
enum class MappingKind : uint8_t { LINEAR, GUEST_PHYSICAL, COMBINED };

// Of a 4-KiB page, whatever the size of the tables' pages. Entries for upper levels of the tables
// are not kept: who asks lists the pages that are reached by them.
struct Mapping {
    MappingKind kind = MappingKind::LINEAR;
    uint16_t vpid = 0, pcid = 0; // linear and combined
    uint64_t root = 0;           // EP4TA: bits 51:12 of the EPTP; guest-physical and combined
    uint64_t page = 0;           // linear or guest-physical
    uint64_t address = 0;        // host-physical
    // What the guest's tables permit; linear and combined.
    bool writable = true, user = true, executable = true, dirty = true, global = false;
    uint64_t ept_rights = 0; // R, W, X, XU
    bool ept_dirty = true;   // the leaf's dirty flag is set, or the EPTP has no such flags
};

// All mappings that a guest of this state can have made for these pages (linear, guest-physical).
std::vector<Mapping> mappings(const GuestInput& input, std::span<const uint64_t> linear_pages,
                              std::span<const uint64_t> physical_pages);

// §28.4.3.1, with operands that the instruction accepts.
struct Invalidation {
    enum Instruction : uint8_t { NONE, INVEPT, INVVPID } instruction = NONE;
    uint64_t type = 0;
    uint64_t operand = 0; // EPTP or VPID
    uint64_t linear = 0;
};
void invalidate(std::vector<Mapping>& mappings, const Invalidation& by);

} // namespace horos::model::vmx
